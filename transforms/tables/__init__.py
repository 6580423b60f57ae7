"""Tables in text files: what a file is, its lines, and its rows as Arrow batches of text."""
