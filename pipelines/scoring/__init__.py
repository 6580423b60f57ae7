"""Scoring: its plan, its graph and its commit."""
