"""What an assignment would do to an operator's fleet: twins of its devices, played before the real ones are told."""
