"""Encoders in C++ for scoring: no padding, and bits that depend on the sentence alone."""
