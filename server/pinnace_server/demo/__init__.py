"""The demo: five device agents, five versions and what becomes of each."""
