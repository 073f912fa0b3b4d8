"""Cutting a .tflite file into pieces that run one after another, and taking single operators out of it."""
