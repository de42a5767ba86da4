"""A seeded world in one process: devices, faults, virtual time and checks."""
