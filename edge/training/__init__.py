"""Data sources, the training loop and its checkpoints."""
