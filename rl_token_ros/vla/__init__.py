"""VLA backends: an observation in, an action chunk and embeddings out. None of them imports rclpy."""
