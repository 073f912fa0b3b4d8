"""Measures running models: plans, windows, statistics and validity."""
