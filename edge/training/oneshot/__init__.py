"""Prunes a trained model in one step, with images but without labels and without training."""
