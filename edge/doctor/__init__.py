"""Diagnoses this machine: what is installed, what is missing, and how to get it."""
