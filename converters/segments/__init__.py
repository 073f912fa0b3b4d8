"""Cuts .tflite files into pieces that run one after another, and extracts operators from them."""
