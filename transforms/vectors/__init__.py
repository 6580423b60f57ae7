"""Vectors near each other: distances, tiles and cells, in NumPy alone."""
