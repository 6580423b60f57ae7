"""What is read, and in which pieces: input files, their footers, shards, and text tables."""
