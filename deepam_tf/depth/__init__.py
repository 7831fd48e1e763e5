"""Depth maps: what was measured, where samples lie, the planes through them. No networks."""

from deepam_tf.depth import grids, holes, observation, planes, sampling, views

__all__ = ["grids", "holes", "observation", "planes", "sampling", "views"]
