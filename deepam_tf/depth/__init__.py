"""Depth maps: where their samples lie, the planes through them. No networks."""
