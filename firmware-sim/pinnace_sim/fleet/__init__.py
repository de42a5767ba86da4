"""Simulated devices on real wires: thousands of real agents in a few processes, against a real server and broker."""
