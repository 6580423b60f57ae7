"""Scoring with a bundle: batches by length, remembered vectors, drift profiles."""
