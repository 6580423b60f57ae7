"""The layers of the Siamese network: a file for each of a recipe's keys."""
