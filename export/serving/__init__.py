"""Servers and their runtime."""
