"""Changes to a model file, one pass a file."""
