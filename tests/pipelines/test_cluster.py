"""The command that makes clusters, held against SciPy's components."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pipelines import cluster
from tests.scoring_kit import write
from transforms.accounts.shard_account import MANIFEST
from transforms.clustering import components
from transforms.errors import RunError, UserError
from transforms.storage.exchange import Exchange


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    """Rounds cost a graph of steps each; these graphs need no more."""
    monkeypatch.setattr(components, "ROUNDS", 8)


def random_pairs(nodes: int, count: int, seed: int = 1) -> pa.Table:
    random = np.random.default_rng(seed)
    ends = random.integers(nodes, size=(count, 2))
    ends = ends[ends[:, 0] != ends[:, 1]]
    return as_table(ends, random.integers(50, 100, size=len(ends)) / 100)


def as_table(ends, similarity) -> pa.Table:
    ends = np.array(ends).reshape(-1, 2)
    sides = {f"sentence{n + 1}": [f"text {id}" for id in ends[:, n]] for n in (0, 1)}
    ids = {"id1": ends[:, 0], "id2": ends[:, 1]}
    return pa.table({**ids, **sides, "similarity": pa.array(similarity, pa.float32())})


def least_of(ends: np.ndarray, nodes: int) -> np.ndarray:
    """The least node of each node's component, by SciPy."""
    graph = coo_matrix((np.ones(len(ends)), tuple(ends.T)), shape=(nodes, nodes))
    _, component = connected_components(graph, directed=False)
    least = np.full(component.max() + 1, nodes)
    np.minimum.at(least, component, np.arange(nodes))
    return least[component]


def ends_of(pairs: pa.Table, least: float) -> np.ndarray:
    kept = pairs.filter(pc.greater_equal(pairs["similarity"], pa.scalar(least, pa.float32())))
    return np.stack([kept["id1"].to_numpy(), kept["id2"].to_numpy()], axis=1)


def run_cluster(inputs, output, *flags) -> dict:
    return cluster.run(["--input", str(inputs), "--output", str(output), *map(str, flags)])


def read(output) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(output.glob("*.parquet"))])


def by_id(output) -> dict:
    found = read(output)
    ids = found["id"].to_pylist()
    assert len(set(ids)) == len(ids)
    return dict(zip(ids, found["cluster_id"].to_pylist(), strict=True))


@pytest.mark.parametrize("edges_at_once", [10_000, 300])
def test_clusters_are_scipys_components(tmp_path, edges_at_once):
    """One bucket, which one task ends, and eight, which take rounds of stars."""
    pairs = random_pairs(3_000, 2_400)
    write(tmp_path / "in.parquet", pairs, row_group_size=500)
    rows = pa.table({"id": range(3_000), "sentence": [f"text {n}" for n in range(3_000)]})
    write(tmp_path / "rows.parquet", rows)
    flags = "--min_similarity", 0.6, "--rows", tmp_path / "rows.parquet"
    more = "--edges_at_once", edges_at_once, "--shard_rows", 500
    manifest = run_cluster(tmp_path / "in.parquet", tmp_path / "out", *flags, *more)
    least = least_of(ends_of(pairs, 0.6), 3_000)
    assert by_id(tmp_path / "out") == dict(enumerate(least.tolist()))
    sizes = np.bincount(least)
    assert manifest["rows_clustered"] == 3_000
    assert manifest["clusters"] == np.count_nonzero(sizes)
    assert manifest["clusters_of_one"] == np.count_nonzero(sizes == 1)
    assert manifest["largest_cluster"] == sizes.max()
    found = read(tmp_path / "out")
    assert found["cluster_size"].to_pylist() == sizes[found["cluster_id"].to_numpy()].tolist()
    assert found["sentence"].to_pylist() == [f"text {n}" for n in found["id"].to_pylist()]
    assert manifest["pairs_read"] == pairs.num_rows
    assert manifest["pairs_used"] == len(ends_of(pairs, 0.6))


def test_ids_stay_where_they_can(tmp_path):
    """Night 1: {5,6,7} {8,9} {10,11} {1,2}. Night 2: 3 joins 5 to 7, 9 leaves 8, 10 joins 1."""
    write(tmp_path / "one.parquet", as_table([(5, 6), (6, 7), (8, 9), (10, 11), (1, 2)], [0.9] * 5))
    two = as_table([(5, 6), (6, 7), (3, 5), (10, 11), (1, 10), (1, 2), (9, 20)], [0.9] * 7)
    write(tmp_path / "two.parquet", two)
    write(tmp_path / "rows.parquet", pa.table({"id": [8], "sentence": ["text 8"]}))
    run_cluster(tmp_path / "one.parquet", tmp_path / "o1", "--min_similarity", 0.5)
    flags = "--min_similarity", 0.5, "--previous", tmp_path / "o1"
    manifest = run_cluster(
        tmp_path / "two.parquet", tmp_path / "o2", *flags, "--rows", tmp_path / "rows.parquet"
    )
    assert by_id(tmp_path / "o1") == {1: 1, 2: 1, 5: 5, 6: 5, 7: 5, 8: 8, 9: 8, 10: 10, 11: 10}
    found = by_id(tmp_path / "o2")
    assert {found[n] for n in (3, 5, 6, 7)} == {5}  # 3 is less, but the cluster is the old one
    assert {found[n] for n in (1, 2, 10, 11)} == {1}  # of two as large the lesser
    assert found[8] == 8 and found[9] == found[20] == 9  # the row that gave the name keeps it
    assert (manifest["clusters_merged"], manifest["clusters_split"]) == (1, 1)


def test_nights_whose_files_have_the_same_names_are_clustered_together(tmp_path):
    """Each run of find names its files alike, and each night's rows are called the same too."""
    nights = [as_table([(1, 2), (5, 6)], [0.9, 0.9]), as_table([(2, 3)], [0.9])]
    for number, pairs in enumerate(nights):
        write(tmp_path / f"{number}" / "pairs-00000.parquet", pairs)
        rows = pa.table({"id": [4 * number, 4 * number + 1], "sentence": ["x", "y"]})
        write(tmp_path / f"rows-{number}" / "part-0.parquet", rows)
    flags = ["--min_similarity=0.5", *(f"--rows={tmp_path}/rows-{n}/*.parquet" for n in (0, 1))]
    run_cluster(tmp_path / "0", tmp_path / "out", f"--input={tmp_path}/1", *flags)

    assert by_id(tmp_path / "out") == {0: 0, 1: 1, 2: 1, 3: 1, 4: 4, 5: 5, 6: 5}


def test_a_cluster_keeps_its_id_when_the_row_of_that_name_is_gone(tmp_path):
    write(tmp_path / "one.parquet", as_table([("a", "b"), ("b", "c"), ("c", "d")], [0.9] * 3))
    write(tmp_path / "two.parquet", as_table([("b", "c"), ("c", "d"), ("d", "e")], [0.9] * 3))
    run_cluster(tmp_path / "one.parquet", tmp_path / "o1", "--min_similarity", 0.5)
    flags = "--min_similarity", 0.5, "--previous", tmp_path / "o1", "--edges_at_once", 1
    run_cluster(tmp_path / "two.parquet", tmp_path / "o2", *flags)
    assert set(by_id(tmp_path / "o2").values()) == {"a"}


def test_a_cluster_that_is_too_large_is_reported_and_can_be_cut(tmp_path):
    """Two triangles held together by one edge of 0.6."""
    ends = [(1, 2), (2, 3), (1, 3), (4, 5), (5, 6), (4, 6), (3, 4)]
    write(tmp_path / "in.parquet", as_table(ends, [0.9, 0.9, 0.8, 0.9, 0.9, 0.7, 0.6]))
    flags = "--min_similarity", 0.5, "--max_cluster", 3
    manifest = run_cluster(tmp_path / "in.parquet", tmp_path / "o1", *flags)
    (large,) = manifest["too_large"]
    assert (large["size"], large["weakest"]) == (6, 0.6)
    assert large["weakest_edges"][0] == {"id1": "3", "id2": "4", "similarity": 0.6}
    assert "3 – 4: 0.6000" in (tmp_path / "o1" / "_clusters.html").read_text()
    manifest = run_cluster(tmp_path / "in.parquet", tmp_path / "o2", *flags, "--cut")
    assert by_id(tmp_path / "o2") == {1: 1, 2: 1, 3: 1, 4: 4, 5: 4, 6: 4}
    assert manifest["too_large"] == [] and manifest["edges_cut"] == 1


def test_pairs_without_ids_are_clustered_by_their_sentences(tmp_path):
    pairs = as_table([(1, 2), (2, 3)], [0.9, 0.9]).drop_columns(["id1", "id2"])
    write(tmp_path / "in.parquet", pairs)
    run_cluster(tmp_path / "in.parquet", tmp_path / "out", "--min_similarity", 0.5)
    assert by_id(tmp_path / "out") == dict.fromkeys(["text 1", "text 2", "text 3"], "text 1")


TEXT_KINDS = {
    "string_view": pa.string_view(),
    "large_string": pa.large_string(),
    "bytes": pa.binary(),
    "category": pa.dictionary(pa.int32(), pa.string()),
}


def as_kind(column: pa.ChunkedArray, kind: str) -> pa.Array:
    column = column.combine_chunks()
    return column.dictionary_encode() if kind == "category" else column.cast(TEXT_KINDS[kind])


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_ids_and_sentences_of_any_kind_of_text_and_similarities_of_any_kind_of_number(
    tmp_path, kind
):
    """As pandas, Polars, Spark and DuckDB write them; the clusters are those of plain columns."""
    plain = as_table([(1, 2), (3, 4), (4, 1), (5, 6)], [0.9, 0.8, 0.75, 0.2])
    for name in ("id1", "id2"):
        at = plain.schema.get_field_index(name)
        plain = plain.set_column(at, name, plain[name].cast(pa.string()))
    rows = pa.table({"id": [str(n) for n in range(8)], "sentence": [f"text {n}" for n in range(8)]})
    columns = {name: as_kind(plain[name], kind) for name in plain.schema.names[:4]}
    exact = pc.round(plain["similarity"].cast(pa.float64()), 2).cast(pa.decimal128(5, 2))
    write(tmp_path / "in.parquet", pa.table({**columns, "similarity": exact}))
    write(
        tmp_path / "rows.parquet", pa.table({n: as_kind(rows[n], kind) for n in rows.schema.names})
    )
    write(tmp_path / "plain.parquet", plain)
    write(tmp_path / "plain-rows.parquet", rows)
    for name, rows_of in (("in", "rows"), ("plain", "plain-rows")):
        flags = "--min_similarity", 0.5, "--rows", tmp_path / f"{rows_of}.parquet"
        run_cluster(tmp_path / f"{name}.parquet", tmp_path / f"{name}-out", *flags)

    assert read(tmp_path / "in-out").equals(read(tmp_path / "plain-out"))
    assert by_id(tmp_path / "in-out") == {
        **dict.fromkeys("1234", "1"), **{each: each for each in "0567"}
    }  # fmt: skip


@pytest.mark.parametrize("sentences", [[["a"], ["b"]], [1, 2], [{"a": 1}, {"a": 2}]])
def test_sentences_that_are_no_text_are_refused_before_the_work(tmp_path, sentences):
    plain = as_table([(1, 2), (3, 4)], [0.9, 0.9])
    at = plain.schema.get_field_index("sentence1")
    write(tmp_path / "in.parquet", plain.set_column(at, "sentence1", pa.array(sentences)))
    write(tmp_path / "plain.parquet", plain)
    write(tmp_path / "rows.parquet", pa.table({"id": [1, 2], "sentence": pa.array(sentences)}))
    for name, flags in (("in", ()), ("plain", ("--rows", tmp_path / "rows.parquet"))):
        with pytest.raises(UserError, match="'sentence1?' is .*, expected text"):
            run_cluster(
                tmp_path / f"{name}.parquet", tmp_path / "out", "--min_similarity=0.5", *flags
            )
    assert not (tmp_path / "out").exists()


def test_ids_that_are_no_text_are_rejected_with_their_rows(tmp_path):
    pairs = as_table([(1, 2), (3, 4)], [0.9, 0.9])
    odd = pairs.set_column(0, "id1", pa.array([b"one", b"\xff"])).set_column(
        1, "id2", pa.array([b"two", b"four"])
    )
    write(tmp_path / "in.parquet", odd)
    flags = "--min_similarity=0.5", "--max_reject_fraction=1"
    manifest = run_cluster(tmp_path / "in.parquet", tmp_path / "out", *flags)

    assert manifest["rejected_by_reason"] == {"id_null": 1}
    assert by_id(tmp_path / "out") == {"one": "one", "two": "one"}


def test_rows_that_are_no_pairs_are_rejected(tmp_path):
    pairs = as_table([(1, 2), (3, 4)], [0.9, float("nan")])
    ids = pa.array([1, 3, None], pa.int64())
    broken = pa.table({"id1": ids, "id2": [2, 4, 5], "similarity": [0.9, np.nan, 0.9]})
    write(tmp_path / "in.parquet", broken)
    flags = "--min_similarity", 0.5, "--max_reject_fraction", 1
    manifest = run_cluster(tmp_path / "in.parquet", tmp_path / "out", *flags)
    assert manifest["rejected_by_reason"] == {"id_null": 1, "similarity_invalid": 1}
    assert manifest["rows_in"] == manifest["pairs_read"] + manifest["rows_rejected"] == 3
    assert by_id(tmp_path / "out") == {1: 1, 2: 1}
    assert pairs.num_rows == 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--input", "in.parquet"], "give --min_similarity"),
        (["--input", "in.parquet", "--min_similarity", "0", "--cut"], "goes with --max_cluster"),
        (["--input", "rows.parquet", "--min_similarity", "0"], "no column"),
        (["--input", "in.parquet", "--min_similarity", "0", "--id1_column", "a"], "go together"),
        (["--input", "in.parquet", "--min_similarity", "0", "--rows", "rows.parquet"], "--rows"),
    ],
)
def test_wrong_use_is_told_in_one_line(tmp_path, monkeypatch, capsys, flags, words):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in.parquet", as_table([(1, 2)], [0.9]))
    write(tmp_path / "rows.parquet", pa.table({"id": ["x"], "sentence": ["text"]}))
    code = cluster.command_line.run_main(lambda: cluster.run([*flags, "--output", "out"]))
    printed = capsys.readouterr().err
    assert code == 2 and words in printed and printed.count("\n") == 1


def test_a_second_run_does_nothing(tmp_path, capsys):
    write(tmp_path / "in.parquet", random_pairs(50, 40))
    first = run_cluster(tmp_path / "in.parquet", tmp_path / "out", "--min_similarity", 0.6)
    assert run_cluster(tmp_path / "in.parquet", tmp_path / "out", "--min_similarity", 0.6) == first
    assert "complete already" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "_SUCCESS", "_clusters.html", MANIFEST, "_shards", "clusters-00000-of-00001.parquet"
    ]  # fmt: skip


@pytest.mark.parametrize("at", [2, 20])
def test_a_run_that_died_leaves_the_same_bytes_in_the_end(tmp_path, monkeypatch, at):
    write(tmp_path / "in.parquet", random_pairs(400, 300), row_group_size=100)
    flags = "--min_similarity", 0.6, "--edges_at_once", 150, "--shard_rows", 100
    run_cluster(tmp_path / "in.parquet", tmp_path / "undisturbed", *flags)
    real, calls = Exchange.write, []

    def die(*args, **more):
        calls.append(1)
        if len(calls) == at:
            raise RuntimeError("Killed")
        return real(*args, **more)

    monkeypatch.setattr(Exchange, "write", die)
    with pytest.raises(RuntimeError, match="Killed"):
        run_cluster(tmp_path / "in.parquet", tmp_path / "out", *flags)
    monkeypatch.setattr(Exchange, "write", real)
    manifest = run_cluster(tmp_path / "in.parquet", tmp_path / "out", *flags)
    undisturbed = json.loads((tmp_path / "undisturbed" / MANIFEST).read_text())
    assert manifest["files"] == undisturbed["files"]


@pytest.mark.parametrize("package", ["twinbeam", "pandas"])
def test_what_another_version_has_begun_is_not_resumed(tmp_path, package, upgraded):
    write(tmp_path / "in.parquet", random_pairs(100, 80))
    run_cluster(tmp_path / "in.parquet", tmp_path / "out", "--min_similarity", 0.6)
    (tmp_path / "out/_SUCCESS").unlink()
    upgraded(package)
    with pytest.raises(UserError, match="other versions.*--overwrite"):
        run_cluster(tmp_path / "in.parquet", tmp_path / "out", "--min_similarity", 0.6)
    more = "--min_similarity", 0.6, "--overwrite"
    anew = run_cluster(tmp_path / "in.parquet", tmp_path / "out", *more)
    assert anew["versions"][package] == "99.9"


def test_a_complete_folder_is_judged_again(tmp_path):
    pairs = random_pairs(100, 80)
    nulls = [None] * 4 + pairs["id1"].to_pylist()[4:]
    write(tmp_path / "in.parquet", pairs.set_column(0, "id1", pa.array(nulls, pairs["id1"].type)))
    flags = tmp_path / "in.parquet", tmp_path / "out", "--min_similarity", 0.6
    manifest = run_cluster(*flags, "--max_reject_fraction", 0.5)
    again = run_cluster(*flags, "--max_reject_fraction", 0.2)
    assert manifest["rows_rejected"] == 4 and again == manifest
    with pytest.raises(RunError, match=r"4 of \d+ rows were rejected.*--max_reject_fraction 0.01"):
        run_cluster(*flags, "--max_reject_fraction", 0.01)
