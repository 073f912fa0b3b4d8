"""Connects to boards over SSH: programs, file transfers, and pinned host keys."""
