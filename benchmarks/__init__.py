"""Measurements against other software; they run from a checkout."""
