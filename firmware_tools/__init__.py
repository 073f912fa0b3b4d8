"""Instruments and boards over serial lines."""
