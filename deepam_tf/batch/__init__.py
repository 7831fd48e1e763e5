"""Many pictures at once: which there are, who restores them, and what became of each."""
