"""Finding pairs of similar sentences that no table lists."""
