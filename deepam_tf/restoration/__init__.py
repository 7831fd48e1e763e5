"""From an observation to a restored picture: weights, tiles, whole images."""
