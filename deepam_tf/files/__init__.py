"""Picture and depth files: whole or not at all, with nothing lost."""
