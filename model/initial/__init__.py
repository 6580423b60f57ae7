"""What training begins with: word vectors, or the weights of a bundle."""
