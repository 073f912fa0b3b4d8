"""Reads power meters: the table of kinds, a reader per kind, and recordings of their samples."""
