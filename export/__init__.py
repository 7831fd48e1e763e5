"""From a trained model to what serves it: SavedModel, LiteRT, ONNX, client and server files."""
