"""What happens to the data: batches of pairs, shards and accounts. No model, no command line."""
