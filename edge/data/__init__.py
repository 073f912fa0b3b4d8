"""Data sources: image folders, array files, sampling, batches."""
