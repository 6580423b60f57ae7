"""Marks in the folder in the making, by which those who watch see which shards are done."""

from __future__ import annotations

from transforms.storage import files


def mark_done(staging: str, step: str, shard: str) -> None:
    """Notes that a step is through with a shard, for those who watch."""
    files.write_bytes(files.join(staging, files.TEMPORARY_FOLDER, step, shard), b"")


def count_done(staging: str, step: str) -> int:
    """With how many shards a step is through."""
    return len(files.list_folder(files.join(staging, files.TEMPORARY_FOLDER, step)))
