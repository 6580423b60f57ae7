"""Local folders and gs:// by the same calls: read, write, list, delete, publish, lock."""
