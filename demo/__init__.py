"""The demonstration: made-up customer questions, and one run through every step."""
