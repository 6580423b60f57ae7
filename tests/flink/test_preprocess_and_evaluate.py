"""Preprocessing and evaluation on a real cluster: what the local runner makes of the same input."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import pytest

from deploy.flink import cluster
from tests.flink.commands import finish, make, manifest, on_flink

pytestmark = [pytest.mark.flink, pytest.mark.timeout(900)]


def test_the_same_vocabulary_and_examples(
    flink: cluster.Cluster, pairs: str, tmp_path: Path
) -> None:
    wanted = {"INPUT": pairs, "RECIPE": "char-bilstm-manhattan"}
    flags = "--shard_rows=4000 --parallelism=2"
    finish(on_flink("run-preprocess", OUTPUT=tmp_path / "flink", ARGS=flags, **wanted))
    make("run-preprocess", OUTPUT=tmp_path / "local", ARGS="--shard_rows=4000", **wanted)
    ours, theirs = tmp_path / "flink", tmp_path / "local"
    assert vocabulary(ours) == vocabulary(theirs)
    for part in ("train", "eval"):
        assert records(ours, part) == records(theirs, part)
        assert records(ours, part)
    for key in ("rows_in", "rows_train", "rows_eval", "rejected_by_reason", "vocabulary_size"):
        assert manifest(ours)[key] == manifest(theirs)[key]


def vocabulary(folder: Path) -> bytes:
    (path,) = folder.glob("transform_fn/assets/vocabulary*")
    return path.read_bytes()


def records(folder: Path, part: str) -> list[bytes]:
    """All serialized examples of a part, sorted: TFRecord's framing is length, sum, data, sum."""
    found = []
    for path in folder.glob(f"{part}-*.tfrecord.gz"):
        content = gzip.decompress(path.read_bytes())
        place = 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            found.append(content[place + 12 : place + 12 + length])
            place += 16 + length
    return sorted(found)


def test_the_same_metrics(flink: cluster.Cluster, local_scores: Path, tmp_path: Path) -> None:
    flags = "--parallelism=2"
    finish(on_flink("run-evaluate", INPUT=local_scores, OUTPUT=tmp_path / "flink", ARGS=flags))
    make("run-evaluate", INPUT=local_scores, OUTPUT=tmp_path / "local")
    ours, theirs = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("flink", "local")
    )
    for clock in ("started", "seconds"):
        del ours[clock], theirs[clock]
    assert ours == theirs
