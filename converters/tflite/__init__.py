"""Reads, verifies, edits and writes .tflite files; needs NumPy alone."""
