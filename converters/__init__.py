"""Converts Keras models to checked .tflite artifacts: recipes, calibration, inspection, parity."""
