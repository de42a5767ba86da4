"""The process that loads one model and serves it, without keys and without network."""
