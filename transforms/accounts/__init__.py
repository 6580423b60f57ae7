"""What became of every row: accounts of shards, the output folder and the commit."""
