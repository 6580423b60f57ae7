"""The command that finds pairs, held against brute force over the same comparison."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import find
from tests.finding_kit import (
    LetterBundle,
    as_pairs,
    brute_force,
    read_pairs,
    run_find,
    table,
    texts,
)
from tests.scoring_kit import write
from transforms.accounts import shard_account
from transforms.accounts.claims import take
from transforms.errors import RunError, UserError
from transforms.finding import find_pairs
from transforms.storage.exchange import Exchange
from transforms.vector_blocks import make_blocks, make_cells, units

DISTANCES = ("cosine", "euclidean", "manhattan")


@pytest.fixture(autouse=True)
def letters(monkeypatch):
    """Blocks of about 60 rows, so that there are several, and a bundle that counts letters."""
    monkeypatch.setattr(find, "BundleScorer", LetterBundle)
    monkeypatch.setattr(units, "BLOCK_ROWS", 60)


@pytest.mark.parametrize("cells", [0, 9])
@pytest.mark.parametrize("distance", DISTANCES)
def test_all_pairs_of_a_table_none_missing_none_twice(tmp_path, distance, cells):
    sentences = texts(400)
    write(tmp_path / "in.parquet", table(sentences), row_group_size=90)
    flags = "--input", tmp_path / "in.parquet", "--shard_rows", 90, "--cells", cells
    manifest = run_find(tmp_path / "out", *flags, model=distance)
    assert as_pairs(read_pairs(tmp_path / "out")) == brute_force(sentences, distance, 0.7)
    distinct = len(set(sentences))
    assert manifest["sentences"] == manifest["sentences_encoded"] == distinct
    assert manifest["pairs"] == distinct * (distinct - 1) // 2
    assert manifest["pairs"] == manifest["pairs_compared"] + manifest["pairs_excluded"]
    assert (manifest["pairs_excluded"] > 0) == (cells > 0)
    assert manifest["rows_in"] == manifest["rows_used"] == 400
    assert manifest["rows_written"] == len(read_pairs(tmp_path / "out"))


def test_both_orders_of_two_tables_find_the_same(tmp_path):
    left, right = texts(150, 2), texts(230, 3)
    write(tmp_path / "a.parquet", table(left))
    write(tmp_path / "b.parquet", table(right, [f"b{n}" for n in range(230)]))
    sides = ("a.parquet", "b.parquet"), ("b.parquet", "a.parquet")
    for (one, other), cells in zip(sides, (0, 7), strict=True):
        flags = "--left", tmp_path / one, "--right", tmp_path / other, "--cells", cells
        manifest = run_find(tmp_path / f"{one}-out", *flags)
        assert manifest["pairs"] == len(set(left)) * len(set(right))
        assert (manifest["pairs_excluded"] > 0) == (cells > 0)
    found = as_pairs(read_pairs(tmp_path / "a.parquet-out"))
    turned = as_pairs(read_pairs(tmp_path / "b.parquet-out"))
    assert found == {(one, other): score for (other, one), score in turned.items()}
    expected = brute_force(left, "manhattan", 0.7, right)
    assert found == {(row, f"b{other}"): score for (row, other), score in expected.items()}


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_most_similar_of_another_table(tmp_path, distance):
    """Of each left sentence the 3 best right ones: no other is more similar than any of them."""
    left, right = sorted(set(texts(70, 8))), sorted(set(texts(260, 9)))
    write(tmp_path / "a.parquet", table(left))
    write(tmp_path / "b.parquet", table(right))
    flags = "--left", tmp_path / "a.parquet", "--right", tmp_path / "b.parquet", "--top_k", 3
    manifest = run_find(tmp_path / "out", *flags, "--min_similarity", 0.3, model=distance)
    assert manifest["pairs"] == manifest["pairs_compared"] == len(left) * len(right)
    found = as_pairs(read_pairs(tmp_path / "out"))
    all_pairs = brute_force(left, distance, 0.3, right)
    for row in range(len(left)):
        ranked = sorted((s for (a, _), s in all_pairs.items() if a == row), reverse=True)
        chosen = {pair: s for pair, s in found.items() if pair[0] == row}
        assert sorted(chosen.values(), reverse=True) == ranked[:3]
        assert chosen.items() <= all_pairs.items()


def test_new_rows_are_compared_with_each_other_and_with_the_old_ones(tmp_path):
    old, new = texts(200, 4), texts(50, 5)
    write(tmp_path / "old.parquet", table(old, list(range(0, 400, 2))))
    write(tmp_path / "new.parquet", table(new, list(range(1, 101, 2))))
    flags = "--input", tmp_path / "new.parquet", "--against", tmp_path / "old.parquet"
    manifest = run_find(tmp_path / "out", *flags)
    fresh, known = len(set(new)), len(set(old))
    assert manifest["pairs"] == fresh * (fresh - 1) // 2 + fresh * known
    within = brute_force(new, "manhattan", 0.7)
    across = brute_force(new, "manhattan", 0.7, old)
    expected = {(2 * i + 1, 2 * j + 1): score for (i, j), score in within.items()}
    expected |= {tuple(sorted((2 * i + 1, 2 * j))): s for (i, j), s in across.items()}
    assert as_pairs(read_pairs(tmp_path / "out")) == expected


def test_the_pairs_of_a_table_are_those_of_its_parts(tmp_path):
    """All of old and new = old alone + (new against old): what a nightly run relies on."""
    both = table(texts(240, 6))
    for name, part in (("all", both), ("old", both[:200]), ("new", both[200:])):
        write(tmp_path / f"{name}.parquet", part)
    run_find(tmp_path / "o1", "--input", tmp_path / "all.parquet")
    run_find(tmp_path / "o2", "--input", tmp_path / "old.parquet")
    flags = "--input", tmp_path / "new.parquet", "--against", tmp_path / "old.parquet"
    run_find(tmp_path / "o3", *flags)
    whole, old, new = (as_pairs(read_pairs(tmp_path / name)) for name in ("o1", "o2", "o3"))
    assert not old.keys() & new.keys()
    assert whole == old | new


def test_rows_that_cannot_be_used_are_rejected_with_a_reason(tmp_path):
    sentences = ["abc", None, "abc", "  ", "a" * 30, "abd"]
    rows = table(sentences, ["r1", "r2", None, "r4", "r5", "r6"])
    write(tmp_path / "in.parquet", rows)
    flags = "--max_sentence_chars", 20, "--max_reject_fraction", 1
    manifest = run_find(tmp_path / "out", "--input", tmp_path / "in.parquet", *flags)
    assert manifest["rejected_by_reason"] == {
        "id_null": 1, "sentence_blank": 1, "sentence_null": 1, "sentence_too_long": 1
    }  # fmt: skip
    assert (manifest["rows_in"], manifest["rows_used"], manifest["rows_rejected"]) == (6, 2, 4)
    rejects = pq.read_table(*(tmp_path / "out" / shard_account.REJECTS_FOLDER).iterdir())
    assert rejects["id"].to_pylist() == ["r2", None, "r4", "r5"]
    assert rejects.schema.names == [*rows.schema.names, "reject_reason", "reject_detail"]


@pytest.mark.parametrize("kind", ["string_view", "binary", "large_string", "dictionary"])
def test_ids_may_be_any_kind_of_text(tmp_path, kind):
    sentences = ["abc", "abc", "abd", "hhhhg"]
    ids = pa.array(["é1", "2", None, "4"])
    odd = ids.dictionary_encode() if kind == "dictionary" else ids.cast(getattr(pa, kind)())
    for name, column in (("odd", odd), ("plain", ids)):
        write(tmp_path / f"{name}.parquet", pa.table({"id": column, "sentence": sentences}))
        flags = f"--input={tmp_path}/{name}.parquet", "--max_reject_fraction=1"
        manifest = run_find(tmp_path / name, *flags)
        assert manifest["rejected_by_reason"] == {"id_null": 1}

    assert read_pairs(tmp_path / "odd").equals(read_pairs(tmp_path / "plain"))
    assert set(as_pairs(read_pairs(tmp_path / "odd"))) == {("2", "é1")}


def test_sentences_and_kept_columns_may_be_views(tmp_path):
    """Polars and DuckDB write them; Arrow cannot put their rows in another order."""
    plain = {
        "id": range(5),
        "sentence": ["abc", None, "abc", "hhhhg", "abd"],
        "more": list("vwxyz"),
    }
    views = {name: pa.array(plain[name], pa.string_view()) for name in ("sentence", "more")}
    views["more"] = pa.array([text.encode() for text in plain["more"]], pa.binary_view())
    for name, columns in (("views", plain | views), ("plain", plain)):
        write(tmp_path / f"{name}.parquet", pa.table(columns))
        flags = (
            f"--input={tmp_path}/{name}.parquet",
            "--keep_columns=more",
            "--max_reject_fraction=1",
        )
        assert run_find(tmp_path / name, *flags)["rejected_by_reason"] == {"sentence_null": 1}
    found, wanted = read_pairs(tmp_path / "views"), read_pairs(tmp_path / "plain")
    names = ("left_more", "right_more")
    assert found.drop_columns(names).equals(wanted.drop_columns(names)) and found.num_rows
    assert [found[name].cast(pa.string()).to_pylist() for name in names] == [
        wanted[name].to_pylist() for name in names
    ]


def test_a_kept_column_whose_rows_cannot_be_moved_is_named_before_the_work(tmp_path):
    inside = pa.array([["a"], ["b"]], pa.list_(pa.string_view()))
    write(tmp_path / "in.parquet", pa.table({"id": [1, 2], "sentence": ["a", "b"], "more": inside}))
    with pytest.raises(UserError, match="'more' is list.*leave it out of --keep_columns"):
        run_find(tmp_path / "out", f"--input={tmp_path}/in.parquet", "--keep_columns=more")
    assert not (tmp_path / "out").exists()


def test_rows_without_ids_are_called_after_their_file_and_number(tmp_path):
    for name in "ab":
        rows = table(["abc", "abd", "abc"]).select(["sentence"])
        write(tmp_path / "in" / f"{name}.parquet", rows, row_group_size=2)
    flags = "--input", tmp_path / "in" / "*.parquet", "--min_similarity", 0.99, "--shard_rows", 2
    run_find(tmp_path / "out", *flags)
    ids = [(side, f"{file}.parquet:{row}") for side, file, row in _places()]
    abc, abd = ([name for text, name in ids if text == kind] for kind in ("abc", "abd"))
    expected = {(a, b) for same in (abc, abd) for a in same for b in same if a < b}
    assert as_pairs(read_pairs(tmp_path / "out")).keys() == expected


def _places():
    return [(text, f, row) for f in "ab" for row, text in enumerate(["abc", "abd", "abc"])]


def test_kept_columns_come_along_on_both_sides(tmp_path):
    rows = table(["abc", "abc", "h"], [3, 1, 2], kind=["x", "y", "z"], at=pa.array([1.5, None, 2]))
    write(tmp_path / "in.parquet", rows)
    flags = "--input", tmp_path / "in.parquet", "--keep_columns", "kind", "at"
    run_find(tmp_path / "out", *flags)
    found = read_pairs(tmp_path / "out").drop_columns(["similarity", "similarity_label"])
    assert found.to_pylist() == [
        {"id1": 1, "id2": 3, "sentence1": "abc", "sentence2": "abc",
         "left_kind": "y", "left_at": None, "right_kind": "x", "right_at": 1.5}
    ]  # fmt: skip


def test_equal_sentences_may_be_joined_to_the_first_alone(tmp_path):
    sentences = ["abc"] * 5 + ["abd"] * 3
    write(tmp_path / "in.parquet", table(sentences))
    flags = "--input", tmp_path / "in.parquet", "--min_similarity", 0.5
    run_find(tmp_path / "all", *flags)
    run_find(tmp_path / "first", *flags, "--equal_sentences", "first")
    assert len(as_pairs(read_pairs(tmp_path / "all"))) == 8 * 7 // 2
    assert sorted(as_pairs(read_pairs(tmp_path / "first"))) == [
        (0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (5, 6), (5, 7)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "expected --input GLOB"),
        (["--input", "in.parquet", "--left", "in.parquet"], "--input NEW --against OLD"),
        (["--input", "in.parquet", "--sentence_column", "text"], "no column 'text'"),
        (["--input", "in.parquet", "--id_column", "key"], "name yours with --id_column"),
        (["--input", "in.parquet", "--id_column", "at"], "expected whole numbers or text"),
        (["--input", "in.parquet", "--keep_columns", "key"], "--keep_columns"),
        (["--input", "in.parquet", "--id_column", "twice"], "1 rows have an id that another"),
        (["--input", "in.parquet", "--against", "text_ids.parquet"], "make them the same"),
        (["--input", "in.parquet", "--model_sha256", "00"], "another bundle"),
    ],
)
def test_wrong_use_is_told_in_one_line(tmp_path, monkeypatch, capsys, flags, words):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in.parquet", table(["ab", "ac"], at=[0.5, 1.5], twice=[7, 7]))
    write(tmp_path / "text_ids.parquet", table(["ab", "ac"], ["x", "y"]))
    code = find.command_line.run_main(lambda: run_find("out", *flags))
    printed = capsys.readouterr().err
    assert code == 2 and words in printed and printed.count("\n") == 1


def test_a_bundle_that_is_not_symmetric_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(LetterBundle, "comparison", lambda self: ("concat", False))
    with pytest.raises(UserError, match="concat"):
        run_find(tmp_path / "out", "--input", tmp_path / "in.parquet")


def test_a_second_run_does_nothing_and_other_options_need_overwrite(tmp_path, capsys):
    write(tmp_path / "in.parquet", table(texts(90)))
    flags = "--input", tmp_path / "in.parquet"
    first = run_find(tmp_path / "out", *flags)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert run_find(tmp_path / "out", *flags) == first
    assert "complete already" in capsys.readouterr().out
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(UserError, match="--overwrite"):
        run_find(tmp_path / "out", *flags, "--min_similarity", 0.1)
    run_find(tmp_path / "out", *flags, "--min_similarity", 0.1, "--overwrite")
    assert len(read_pairs(tmp_path / "out")) > first["rows_written"]


def test_an_estimate_counts_pairs_and_writes_nothing(tmp_path, capsys):
    write(tmp_path / "in.parquet", table(texts(100)))
    found = run_find(tmp_path / "out", "--input", tmp_path / "in.parquet", "--estimate")
    assert found["rows"] == pytest.approx(100 * 99 // 2, abs=3)
    assert "nothing was submitted" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


class Killed(Exception):
    """In place of a kill: what was finished stays, the rest never happened."""


@pytest.mark.parametrize("recall", [0.5, 0.9])
def test_recall_is_measured_on_pairs_that_did_not_choose_the_cells(tmp_path, recall):
    sentences = texts(500)
    write(tmp_path / "in.parquet", table(sentences))
    flags = "--input", tmp_path / "in.parquet", "--cells", 12, "--recall", recall
    manifest = run_find(tmp_path / "out", *flags, "--anchors", 300, model="cosine")
    expected = brute_force(sentences, "cosine", 0.7)
    found = as_pairs(read_pairs(tmp_path / "out"))
    assert found.items() <= expected.items()
    measured, among = manifest["recall"], manifest["pairs_found"]
    of_sentences = {frozenset((sentences[a], sentences[b])) for a, b in expected}
    truth = among / len([pair for pair in of_sentences if len(pair) == 2])
    assert measured["low"] <= truth <= measured["high"]
    assert truth > recall - 0.1
    assert 1 <= manifest["visits"] <= 12
    assert manifest["pairs"] == manifest["pairs_compared"] + manifest["pairs_excluded"]


@pytest.mark.parametrize(("at", "cells"), [(1, 0), (4, 0), (9, 0), (5, 4)])
def test_a_run_that_died_leaves_the_same_bytes_in_the_end(tmp_path, monkeypatch, at, cells):
    write(tmp_path / "in.parquet", table(texts(200)))
    flags = "--input", tmp_path / "in.parquet", "--cells", cells
    run_find(tmp_path / "undisturbed", *flags)
    real, calls = find_pairs.join_unit, []

    def die(*args, **more):
        calls.append(1)
        if len(calls) == at:
            raise Killed
        return real(*args, **more)

    monkeypatch.setattr(find_pairs, "join_unit", die)
    with pytest.raises(RuntimeError, match="Killed"):  # as Beam hands it on
        run_find(tmp_path / "out", *flags)
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    monkeypatch.setattr(find_pairs, "join_unit", real)
    manifest = run_find(tmp_path / "out", *flags)
    undisturbed = json.loads((tmp_path / "undisturbed" / shard_account.MANIFEST).read_text())
    assert manifest["files"] == undisturbed["files"]
    assert manifest["sentences_encoded"] == undisturbed["sentences_encoded"]


@pytest.mark.parametrize("package", ["twinbeam", "tensorflow", "numpy"])
def test_what_another_version_has_begun_is_not_resumed(tmp_path, package, upgraded):
    write(tmp_path / "in.parquet", table(texts(30)))
    flags = "--input", tmp_path / "in.parquet"
    run_find(tmp_path / "out", *flags)
    (tmp_path / "out/_SUCCESS").unlink()
    upgraded(package)
    with pytest.raises(UserError, match="other versions.*--overwrite"):
        run_find(tmp_path / "out", *flags)
    anew = run_find(tmp_path / "out", *flags, "--overwrite")
    assert anew["versions"][package] == "99.9"


def test_a_complete_folder_is_judged_again(tmp_path):
    write(tmp_path / "in.parquet", table([*texts(20), None, None]))
    flags = "--input", tmp_path / "in.parquet", "--max_reject_fraction"
    manifest = run_find(tmp_path / "out", *flags, 0.5)
    assert run_find(tmp_path / "out", *flags, 0.1) == manifest
    with pytest.raises(RunError, match=r"2 of 22 rows were rejected.*--max_reject_fraction 0.05"):
        run_find(tmp_path / "out", *flags, 0.05)


@pytest.mark.parametrize(
    ("module", "name", "flags"),
    [
        (make_blocks, "write_block", ["--cells=0"]),
        (make_blocks, "write_block_account", ["--cells=0"]),
        (make_cells, "_chosen", ["--cells=3"]),
        (make_cells, "write_block_table", ["--cells=3"]),
        (Exchange, "write", ["--cells=3"]),
    ],
)
def test_a_run_that_was_superseded_leaves_no_block_to_the_other(
    tmp_path, monkeypatch, module, name, flags
):
    """In a bucket no lock keeps it away, and the blocks of both have the same names."""
    write(tmp_path / "in.parquet", table(texts(200)), row_group_size=90)
    real, seen = getattr(module, name), []

    def late(*args, **more):
        if not seen:
            take(str(tmp_path / "out"))
            seen.append(blocks_in(tmp_path / "out"))
        return real(*args, **more)

    monkeypatch.setattr(module, name, late)
    with pytest.raises(RunError, match="taken over by another run"):
        run_find(tmp_path / "out", f"--input={tmp_path}/in.parquet", *flags)
    assert blocks_in(tmp_path / "out") == seen[0]


def blocks_in(output) -> dict:
    found = (path for path in (output / "_shards/blocks").rglob("*") if path.is_file())
    return {str(path.relative_to(output)): path.read_bytes() for path in found}
