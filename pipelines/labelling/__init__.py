"""Labelling: pairs are chosen, answers are judged, and rounds of both are made."""
