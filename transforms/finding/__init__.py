"""Finding pairs of near sentences that nobody has listed."""
