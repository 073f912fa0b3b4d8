"""Boards over SSH: a connection, programs and files through it, host keys that are pinned."""
