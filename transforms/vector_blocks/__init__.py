"""Sentences with their vectors, in blocks: what is compared with what."""
