"""Keras model -> .tflite artifact: recipes, calibration, inspection, parity."""
