"""Content-addressed storage of model files and other immutable bytes."""
