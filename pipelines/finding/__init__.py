"""Finding similar pairs: the plan of a search, its graph, its progress and its commit."""
