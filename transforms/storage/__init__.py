"""Local folders and gs:// alike: reading, writing, listing, deleting, publishing and locking."""
