"""Conversions in child processes of the server, so that hostile files and heavy libraries stay out of its own."""
