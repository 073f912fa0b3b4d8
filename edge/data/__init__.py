"""Reads data: image folders, array files and the digits, as samples, splits and batches."""
