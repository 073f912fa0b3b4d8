"""Communicates with instruments and boards over serial lines."""
