"""What the fleet should do next, decided purely."""
