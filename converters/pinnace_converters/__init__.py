"""From a model file to checked variants: passes, pipeline and parity."""
