"""One-shot pruning: a trained model and some pictures in, no labels and no training."""
