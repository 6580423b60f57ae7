"""What was done with every row: accounts of shards, the output folder and the commit."""
