"""A small vision policy from demonstrations, for who has no VLA: reading, training, the ONNX file. Needs torch."""
