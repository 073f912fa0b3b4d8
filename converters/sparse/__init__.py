"""Sparse weights in .tflite files: how they are encoded, how they are quantized, and whether there are any."""
