"""Fills the screens from the server's store and services: records in, what is shown out."""
