"""Running a graph: its runner, its progress and its commit."""
