"""Labelled pairs → training examples, split, counted and stored."""
