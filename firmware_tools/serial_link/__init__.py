"""Carries a reliable byte stream over a noisy serial line to a board's own SSH server."""
