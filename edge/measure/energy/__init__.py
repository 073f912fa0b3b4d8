"""Computes energy per inference from a meter's trace: clock alignment, integration, uncertainty, validity."""
