"""The linear system of a reconstruction and everything that solves it. No Keras."""
