"""The RL token: the encoder at run time (onnxruntime), and its training, probe and export (torch)."""
