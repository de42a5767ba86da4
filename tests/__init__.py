"""Tests, one folder for each part of the system; what several of them share lies beside this file."""
