"""Provides devices: their facts, their common interface, and the ways to reach them."""
