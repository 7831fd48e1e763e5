"""The networks, the layers they are made of, and DeepAM, which unrolls them."""
