"""Examples → batches of pairs for training."""
