"""How good the results are: scores, and peers to compare with."""
