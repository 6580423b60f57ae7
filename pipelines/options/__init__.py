"""Flags → frozen options, a file for each command."""
