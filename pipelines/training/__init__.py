"""Training: from an examples folder, and without one, to a bundle."""
