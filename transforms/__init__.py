"""What happens to the data: Arrow batches of pairs, shards and accounts. No model, no command line."""
