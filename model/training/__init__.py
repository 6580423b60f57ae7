"""Training: the loop, its strategy, checkpoints and evaluation."""
