"""Trains, prunes and distils Keras models."""
