"""Sentences → token ids, in the TensorFlow graph."""
