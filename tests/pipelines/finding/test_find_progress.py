"""What a search says of itself, read from what it leaves in the folder."""

from __future__ import annotations

import pytest

from pipelines import find
from pipelines.finding import find_progress
from pipelines.finding.find_progress import SearchFolder
from tests.finding_kit import LetterBundle, run_find, table, texts
from tests.scoring_kit import write
from transforms.vector_blocks import units


@pytest.mark.parametrize(
    ("present", "phase"),
    [
        ([], "reading rows, loading TensorFlow and the bundle"),
        (["blocks/left-raw-00000.json", "blocks/left-raw-00000.parquet"], "encoding: 1 of 2"),
        ([f"blocks/left-raw-0000{n}.json" for n in (0, 1)], "making cells: 0 of 2 blocks"),
        ([f"blocks/left-{k}-0000{n}.json" for k in ("raw", "block") for n in (0, 1)], "measuring"),
        (["pairs-a.parquet.json", "in-0.parquet.json"], "comparing: 1 of 3 units"),
    ],
)
def test_the_phase(tmp_path, present, phase):
    folder = SearchFolder(
        str(tmp_path), 2, frozenset(f"pairs-{name}.parquet" for name in "abc"), True
    )
    for name in present:
        path = tmp_path / "_shards" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert folder.phase().startswith(phase)


def test_a_run_shows_its_phases(tmp_path, monkeypatch, capsys):
    """Looked at without a pause, a run is seen in its phases, one after the other."""
    monkeypatch.setattr(find, "BundleScorer", LetterBundle)
    monkeypatch.setattr(units, "BLOCK_ROWS", 40)
    monkeypatch.setitem(find_progress.EVERY_SECONDS, "log", 0.001)
    write(tmp_path / "in.parquet", table(texts(300)))
    run_find(tmp_path / "out", "--input", tmp_path / "in.parquet")
    order = ("reading rows", "encoding", "measuring and comparing", "comparing")
    lines = capsys.readouterr().err.splitlines()
    phases = [next(n for n, phase in enumerate(order) if line.startswith(phase)) for line in lines]
    assert phases and phases == sorted(phases)
    assert phases[-1] == order.index("comparing")
