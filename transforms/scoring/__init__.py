"""Shards of pairs → shards of scores, each distinct sentence encoded once."""
