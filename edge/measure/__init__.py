"""Measures models on devices: plans, windows, estimates, energy, validity, advice, as values."""
