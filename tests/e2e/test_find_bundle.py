"""Pairs that are found with a real bundle are those that score would label, to the last bit."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines import cluster, find, score
from tests.model.tiny_bundle import SENTENCES, build, export, write_graph
from tests.model.tiny_recipes import recipe


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> str:
    """An untrained network, whose vectors differ all the same."""
    folder = tmp_path_factory.mktemp("bundle")
    made = recipe()
    graph = write_graph(folder / "graph", tokenizer="char")
    return export(folder / "bundle", build(made), made, graph)


def sentences(count: int) -> list[str]:
    """Sentences of the characters that the bundle knows; some are equal."""
    known, random = sorted(set("".join(SENTENCES))), np.random.default_rng(3)
    made = ["".join(random.choice(known, size=random.integers(1, 9))) for _ in range(count)]
    return [text.strip() or "借" for text in made]


def test_find_gives_what_score_gives_of_all_pairs(bundle, tmp_path):
    texts = sentences(60)
    ids = [f"q{n:03d}" for n in range(len(texts))]
    pq.write_table(pa.table({"id": ids, "sentence": texts}), tmp_path / "questions.parquet")
    numbers = list(combinations(range(len(texts)), 2))
    every = {
        f"{name}{side + 1}": [values[pair[side]] for pair in numbers]
        for side in (0, 1)
        for name, values in (("id", ids), ("sentence", texts))
    }
    pq.write_table(pa.table(every), tmp_path / "every.parquet")
    model, out = ["--model", bundle], str(tmp_path / "out")
    score.run(["--input", str(tmp_path / "every.parquet"), *model, "--output", f"{out}-scores"])
    scored = pa.concat_tables(
        [pq.read_table(p) for p in (tmp_path / "out-scores").glob("*.parquet")]
    )
    least = float(sorted(scored["similarity"].to_pylist())[-200])  # a tie: that pair is among them
    questions = ["--input", str(tmp_path / "questions.parquet"), "--min_similarity", repr(least)]
    manifest = find.run([*questions, *model, "--output", f"{out}-pairs"])

    found = pa.concat_tables([pq.read_table(p) for p in (tmp_path / "out-pairs").glob("*.parquet")])
    at_least = pc.greater_equal(scored["similarity"], pa.scalar(least, pa.float32()))
    wanted = scored.filter(at_least)
    names = ["id1", "id2", "sentence1", "sentence2", "similarity", "similarity_label"]
    assert found.schema.names == names
    order = [("id1", "ascending"), ("id2", "ascending")]
    assert found.sort_by(order).to_pylist() == wanted.select(names).sort_by(order).to_pylist()
    assert manifest["sentences"] == len(set(texts))

    groups = ["--input", f"{out}-pairs", "--rows", str(tmp_path / "questions.parquet")]
    clustered = cluster.run([*groups, "--output", f"{out}-clusters"])
    assert clustered["rows_clustered"] == len(texts)
