"""The bundle: export, signatures, model card, and loading with its checksums."""
