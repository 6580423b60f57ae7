"""From pairs to labels with a real bundle, against plain Keras, DuckDB, pandas and Polars."""

import json
import shutil
from pathlib import Path

import duckdb
import keras
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.bundle.loading import load
from model.network.siamese import build_siamese
from model.recipe.reading import load_recipe
from pipelines import score


def score_file(bundle: str, path: Path, output: Path, *flags: str) -> dict:
    return score.run(["--input", str(path), "--model", bundle, "--output", str(output), *flags])


@pytest.fixture
def to_score(tmp_path) -> Path:
    """Rows with other columns beside them, repeats, and three that cannot be scored."""
    words = ["where is my refund", "退款怎么办", "a", "help with delivery please" * 3, "\x08x"]
    first = [words[row % 5] for row in range(200)]
    second = [words[(row * row) % 5] for row in range(200)]
    first[7], second[11], second[13] = None, "", " \t"
    stamps = pa.array(range(200), pa.timestamp("us", "UTC"))
    table = pa.table(
        {
            "id": pa.array(range(200), pa.int32()),
            "sentence1": first,
            "at": stamps,
            "sentence2": pa.array(second).dictionary_encode(),
            "tags": [[str(row)] for row in range(200)],
        }
    )
    path = tmp_path / "in.parquet"
    pq.write_table(table.replace_schema_metadata({"made by": "test"}), path, row_group_size=60)
    return path


def test_the_bundle_stands_alone_and_every_row_is_accounted_for(tiny, to_score, tmp_path):
    alone = tmp_path / "moved" / "bundle"
    shutil.copytree(tiny.bundle, alone)  # its examples folder is not beside it any more
    manifest = score_file(str(alone), to_score, tmp_path / "out", "--shard_rows", "100")
    counted = duckdb.sql(f"select count(*) from '{tmp_path}/out/*.parquet'").fetchall()[0][0]
    rejected = duckdb.sql(
        f"select id, reject_reason from read_parquet('{tmp_path}/out/_rejects/*') order by id"
    ).fetchall()
    assert counted == manifest["rows_scored"] == 197
    assert rejected == [(7, "sentence_null"), (11, "sentence_blank"), (13, "sentence_blank")]
    assert manifest["rows_in"] == 200
    assert (tmp_path / "out" / "_SUCCESS").exists()


def test_columns_come_through_with_their_types_in_every_reader(tiny, to_score, tmp_path):
    score_file(tiny.bundle, to_score, tmp_path / "out")
    (path,) = (tmp_path / "out").glob("*.parquet")
    before, after = pq.read_schema(to_score), pq.read_schema(path)
    assert list(after)[:-2] == list(before)
    assert after.metadata == before.metadata
    assert after.names[-2:] == ["similarity", "similarity_label"]
    kept = pq.read_table(to_score).filter(
        ~pa.compute.is_in(pa.compute.field("id"), pa.array([7, 11, 13]))
    )
    assert pq.read_table(path).select(before.names).equals(kept)
    frame = pd.read_parquet(path)
    assert frame.dtypes["similarity"] == np.float32 and frame.dtypes["id"] == np.int32
    assert str(frame.dtypes["at"]) == "datetime64[us, UTC]"
    assert pl.read_parquet(path).schema["similarity"] == pl.Float32
    assert duckdb.sql(f"select typeof(tags) from '{path}' limit 1").fetchall() == [("VARCHAR[]",)]


def plain_similarity(tiny, first: list[str], second: list[str]) -> np.ndarray:
    """The Keras network itself, both sides padded to the longest, on ids looked up by hand."""
    recipe = load_recipe(f"{tiny.bundle}/recipe.yaml")
    manifest = json.loads(Path(tiny.examples, "manifest.json").read_text())
    network = build_siamese(recipe, vocabulary_size=manifest["vocabulary_size"]).network
    network.load_weights(f"{tiny.bundle}/network.weights.h5")
    (asset,) = Path(tiny.bundle, "saved_model", "assets").glob("vocabulary*")
    number = {token: place + 2 for place, token in enumerate(asset.read_text().splitlines())}

    def ids(texts: list[str]) -> tf.Tensor:
        rows = [
            [
                number.get(letter, 1)
                for letter in text.lower()
                if letter.isprintable() and letter != " "
            ]
            or [1]
            for text in texts
        ]
        return tf.ragged.constant(rows, tf.int32).to_tensor()

    return np.exp(keras.ops.convert_to_numpy(network([ids(first), ids(second)])))


def test_scores_are_those_of_the_plain_network(tiny, to_score, tmp_path):
    manifest = score_file(tiny.bundle, to_score, tmp_path / "out")
    frame = pd.read_parquet(next((tmp_path / "out").glob("*.parquet")))
    wanted = plain_similarity(tiny, frame.sentence1.tolist(), frame.sentence2.tolist())
    np.testing.assert_allclose(frame.similarity, wanted, atol=1e-5)
    threshold = json.loads(Path(tiny.bundle, "manifest.json").read_text())["threshold"]
    assert (frame.similarity_label == (wanted >= np.float32(threshold))).all()
    assert manifest["sentences_encoded"] <= 5


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shard_rows=st.sampled_from([1, 60, 130, 1000]),
    cache=st.sampled_from(["0", "64"]),
    mode=st.sampled_from(["shard", "global"]),
)
def test_bytes_do_not_depend_on_shards_cache_or_mode(
    tiny, to_score, tmp_path_factory, shard_rows, cache, mode
):
    def bits(output: Path, *flags: str) -> list:
        score_file(tiny.bundle, to_score, output, *flags)
        table = pa.concat_tables(map(pq.read_table, sorted(output.glob("*.parquet"))))
        return table["similarity"].to_numpy().tobytes(), table["similarity_label"].to_pylist()

    folder = tmp_path_factory.mktemp("out")
    flags = ["--embedding_cache_mb", cache, "--encode_once", mode]
    assert bits(folder / "a", "--shard_rows", str(shard_rows), *flags) == bits(folder / "b")


def test_the_threshold_can_be_overridden(tiny, to_score, tmp_path):
    score_file(tiny.bundle, to_score, tmp_path / "out", "--threshold", "0.999")
    frame = pd.read_parquet(next((tmp_path / "out").glob("*.parquet")))
    assert (frame.similarity_label == (frame.similarity >= np.float32(0.999))).all()


def test_similarity_is_symmetric(tiny):
    bundle = load(tiny.bundle)
    first, second = np.array(["refund", "快递"], object), np.array(["where is it", "在哪"], object)
    forward, back = bundle.score(first, second), bundle.score(second, first)
    np.testing.assert_array_equal(forward["similarity"], back["similarity"])
