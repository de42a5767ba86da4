"""Repositories on SQL and the migrations of their tables."""
