"""Every night: new rows are compared with all, old ones not again, and clusters keep their ids."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import cluster, find
from tests.finding_kit import LetterBundle, run_find, table, texts
from tests.scoring_kit import write
from transforms.vector_blocks import units


@pytest.fixture(autouse=True)
def letters(monkeypatch):
    """Blocks of about 60 rows, so that there are several, and a bundle that counts letters."""
    monkeypatch.setattr(find, "BundleScorer", LetterBundle)
    monkeypatch.setattr(units, "BLOCK_ROWS", 60)


def clusters_of(folder) -> dict[int, int]:
    rows = pa.concat_tables([pq.read_table(path) for path in folder.glob("*.parquet")])
    return dict(zip(rows["id"].to_pylist(), rows["cluster_id"].to_pylist(), strict=True))


def test_one_percent_of_new_rows_is_one_percent_of_the_comparisons(tmp_path):
    """Of n rows each can be compared with n; the 4 new ones of 400 are, the others are not."""
    every = sorted(set(texts(900, 6)))[:400]
    assert len(every) == 400
    new, old = every[::100], [text for place, text in enumerate(every) if place % 100]
    write(tmp_path / "old.parquet", table(old, list(range(0, 2 * len(old), 2))))
    write(tmp_path / "new.parquet", table(new, list(range(1, 2 * len(new), 2))))
    rows = [tmp_path / "old.parquet", tmp_path / "new.parquet"]
    first = run_find(tmp_path / "first", "--input", rows[0])
    flags = "--input", rows[1], "--against", rows[0]
    tonight = run_find(tmp_path / "tonight", *flags)
    at_once = run_find(tmp_path / "at-once", "--input", *rows)
    assert tonight["pairs_compared"] == 4 * 396 + 4 * 3 // 2 <= 0.01 * 400 * 400
    assert first["pairs_compared"] + tonight["pairs_compared"] == at_once["pairs_compared"]

    words = ["--rows", *map(str, rows)]
    before = ["--input", str(tmp_path / "first"), "--rows", str(rows[0])]
    cluster.run([*before, "--output", str(tmp_path / "last-night")])
    both = ["--input", str(tmp_path / "first"), str(tmp_path / "tonight"), *words]
    previous = ["--previous", str(tmp_path / "last-night")]
    cluster.run([*both, *previous, "--output", str(tmp_path / "clusters")])
    cluster.run(["--input", str(tmp_path / "at-once"), *words, "--output", str(tmp_path / "whole")])
    was, now, whole = (clusters_of(tmp_path / n) for n in ("last-night", "clusters", "whole"))

    def groups(found):
        return {frozenset(r for r in found if found[r] == found[row]) for row in found}

    assert groups(now) == groups(whole)
    touched = {now[row] for row in now if row % 2}
    untouched = {row for row in was if now[row] not in touched}
    assert len(untouched) > 50
    assert {row: was[row] for row in untouched} == {row: now[row] for row in untouched}
