"""Boards and runtimes as data, and what XNNPACK makes of a .tflite file on them."""
