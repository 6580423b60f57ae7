"""Clusters: the connected components of pairs."""
