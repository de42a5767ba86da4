"""What the memory twin refuses where SQL would."""

from __future__ import annotations


class Violated(Exception):
    """A row is there twice, or names another that is not there: SQL's IntegrityError. The write is lost."""
