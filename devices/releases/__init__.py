"""Releases: a model on a board, checked there before it serves, switched in one step, the one before kept."""
