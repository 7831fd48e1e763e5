"""Scripts that train and measure DeepAM; they run from a checkout."""
