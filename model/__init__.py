"""The Siamese network, from recipe to bundle, and the engine that scores with it."""
