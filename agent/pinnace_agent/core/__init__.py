"""What one device may do next, decided purely: the lifecycle and the health verdict."""
