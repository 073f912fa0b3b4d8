"""Reads and writes artifacts: NAME.tflite with its record in NAME.json."""
