"""Encodes and quantizes the sparse weights of .tflite files, and counts their zeros."""
