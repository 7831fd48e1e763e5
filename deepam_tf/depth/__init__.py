"""Depth maps: what was measured, where samples lie, the planes through them. No networks."""

from deepam_tf.depth import consistency, grids, holes, observation, planes, sampling, views

__all__ = ["consistency", "grids", "holes", "observation", "planes", "sampling", "views"]
