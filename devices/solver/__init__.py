"""Chooses the TFLite runtime that fits a board, downloads its wheels and installs them on a board without internet."""
