"""The server: what the fleet should do next, and the shells that carry it out."""
