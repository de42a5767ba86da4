"""The device's side: lifecycle, store, inference worker, daemon and command line."""
