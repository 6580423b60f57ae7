"""Labelled scores → measures, intervals, slices and baselines."""
