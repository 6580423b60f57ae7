"""New versions of a bundle: calibrated, or of another precision."""
