"""Depth maps: what was measured, where samples lie, the planes through them. No networks."""

from deepam_tf.depth import alignment, grids, holes, observation, planes, sampling, views

__all__ = ["alignment", "grids", "holes", "observation", "planes", "sampling", "views"]
