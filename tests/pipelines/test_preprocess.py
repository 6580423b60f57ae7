"""The whole of preprocessing, through the command line's `run`, on small tables."""

import json
import math
import pickle
import unicodedata
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from pipelines import preprocess
from pipelines.options.command_line import run_main
from transforms.errors import RunError, UserError
from transforms.examples.read_pairs import PairReading, ReadPairs
from transforms.examples.split import EvalSplit
from transforms.examples.store_examples import EncodeExamples, StoreExamples
from transforms.labels import LabelRule
from transforms.pairs import PairColumns

RECIPE = """
name: tiny
description: a test
source: none
task: binary
labels: {classes: ["0", "1"]}
text: {tokenizer: char, eval_fraction: 0.3}
embedding: {dimensions: 8}
encoder: {kind: cnn, filters: 4}
comparison: {kind: manhattan}
loss: {kind: binary_crossentropy}
"""
BERT = """
name: tiny-bert
description: a test
source: none
task: regression
labels: {minimum: 0, maximum: 5}
text: {tokenizer: wordpiece, vocabulary: VOCABULARY, eval_fraction: 0.3}
encoder: {kind: bert, preset: nowhere}
comparison: {kind: cosine}
loss: {kind: cosine_mse}
"""
RAW = """
name: tiny-raw
description: a test
source: none
task: binary
labels: {classes: ["0", "1"]}
text: {tokenizer: none, eval_fraction: 0.3}
encoder: {kind: saved_model, path: nowhere, dimensions: 4}
comparison: {kind: l1}
loss: {kind: binary_crossentropy}
"""
# Every pair has a character of its own, so it shows where a pair's characters go.
GOOD = [
    (f"我的卡{chr(0x6F00 + n)}丢了 No.{n % 7}", f"Ｃard {chr(0x6F00 + n)} lost?")
    for n in range(150)
]
MIRRORED = [(b, a) for a, b in GOOD[:40]]
BAD = [(None, "a", 1), ("a", None, 0), (" \t", "a", 1), ("a", "b", None), ("a", "b", 7)]


def rows():
    good = [(a, b, (n * 7) % 2) for n, (a, b) in enumerate(GOOD + MIRRORED)]
    return good[:100] + BAD + good[100:]


def write_input(folder: Path, table_rows, group_rows=50) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    first, second, labels = zip(*table_rows, strict=True)
    columns = {"sentence1": first, "sentence2": second, "label": labels, "id": range(len(first))}
    table = pa.table({name: list(values) for name, values in columns.items()})
    for number, part in enumerate((table.slice(0, 80), table.slice(80))):
        pq.write_table(part, folder / f"part-{number}.parquet", row_group_size=group_rows)
    return f"{folder}/part-*.parquet"


def write_recipe(folder: Path, text: str) -> str:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return str(path)


def run(pattern, recipe, output, *flags):
    return preprocess.run(
        [
            "--input",
            pattern,
            "--recipe",
            recipe,
            "--output",
            str(output),
            "--train_shards=3",
            *flags,
        ]
    )


def read_examples(folder, part, names=("ids1", "ids2")):
    """The records of a part as (first, second, label), read with TensorFlow's own parser."""
    paths = sorted(str(path) for path in Path(folder).glob(f"{part}-*.tfrecord.gz"))
    found = []
    for record in tf.data.TFRecordDataset(paths, "GZIP"):
        feature = tf.train.Example.FromString(record.numpy()).features.feature
        sides = [
            tuple(feature[name].int64_list.value or feature[name].bytes_list.value)
            for name in names
        ]
        found.append((*sides, feature["label"].float_list.value[0]))
    return found


def plain_characters(text):
    folded = unicodedata.normalize("NFKC", text).lower()
    return [c for c in folded if unicodedata.category(c) not in ("Zs", "Cc", "Cf")]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Examples from two files, with what the run said of them."""
    folder = tmp_path_factory.mktemp("preprocess")
    pattern, recipe = write_input(folder / "pairs", rows()), write_recipe(folder, RECIPE)
    manifest = run(pattern, recipe, folder / "examples", "--max_reject_fraction=0.1")
    return folder, pattern, recipe, manifest


def test_the_folder_holds_what_training_needs(made):
    folder, _, _, _ = made
    names = {str(path.relative_to(folder / "examples")) for path in (folder / "examples").iterdir()}
    assert {path.name for path in folder.iterdir()} == {"pairs", "recipe.yaml", "examples"}
    names = {path.name for path in (folder / "examples").iterdir()}
    assert names == {
        *(f"train-0000{number}-of-00003.tfrecord.gz" for number in range(3)),
        "eval-00000-of-00001.tfrecord.gz",
        "transform_fn",
        "transformed_metadata",
        "_rejects",
        "recipe.yaml",
        "manifest.json",
        "_SUCCESS",
    }


def test_the_same_command_again_does_nothing_and_another_says_what_differs(made, capsys):
    folder, pattern, recipe, manifest = made
    before = {path: path.stat().st_mtime_ns for path in (folder / "examples").rglob("*")}
    assert run(pattern, recipe, folder / "examples", "--max_reject_fraction=0.2") == manifest
    assert "is complete already: same inputs and options" in capsys.readouterr().out
    with pytest.raises(RunError, match=r"rows were rejected.*--max_reject_fraction 0\.001 allows"):
        run(pattern, recipe, folder / "examples", "--max_reject_fraction=0.001")
    with pytest.raises(UserError, match="--max_sentence_chars 10000, now 99.*--overwrite"):
        run(pattern, recipe, folder / "examples", "--max_sentence_chars=99")
    with pytest.raises(UserError, match="the inputs have changed"):
        run(pattern.replace("*", "0"), recipe, folder / "examples")
    assert {path: path.stat().st_mtime_ns for path in (folder / "examples").rglob("*")} == before


def test_every_row_is_accounted_for(made):
    folder, _, _, manifest = made
    assert manifest == json.loads((folder / "examples/manifest.json").read_text())
    train, evaluation = (read_examples(folder / "examples", part) for part in ("train", "eval"))
    assert manifest["rows_in"] == 195
    assert manifest["rows_train"] == len(train) and manifest["rows_eval"] == len(evaluation)
    assert manifest["rows_rejected"] == 5 and len(train) + len(evaluation) == 190
    reasons = {"label_invalid": 1, "label_null": 1, "sentence_blank": 1, "sentence_null": 2}
    assert manifest["rejected_by_reason"] == reasons
    assert sum(manifest["label_counts"]["train"].values()) == len(train)
    assert sum(manifest["sentence_length_histogram"].values()) == 2 * 190
    assert [file["rows"] for file in manifest["eval_files"]] == [len(evaluation)]


def test_rejected_rows_lie_beside_with_all_their_columns(made):
    folder, _, _, _ = made
    rejects = pa.concat_tables(
        [pq.read_table(path) for path in sorted((folder / "examples/_rejects").glob("*"))]
    )
    assert rejects.column_names == [
        "sentence1", "sentence2", "label", "id", "reject_reason", "reject_detail",
    ]  # fmt: skip
    assert rejects["id"].to_pylist() == [100, 101, 102, 103, 104]


def test_examples_are_the_rows_in_ids(made):
    folder, _, _, _ = made
    vocabulary = tft.TFTransformOutput(str(folder / "examples")).vocabulary_by_name("vocabulary")
    ids = {token.decode(): place + 2 for place, token in enumerate(vocabulary)}

    def look_up(text):
        return tuple(ids.get(character, 1) for character in plain_characters(text))

    expected = Counter(
        (look_up(a), look_up(b), float(y)) for a, b, y in rows() if (a, b, y) not in BAD
    )
    found = [row for part in ("train", "eval") for row in read_examples(folder / "examples", part)]
    assert Counter(found) == expected


def test_the_vocabulary_is_counted_in_the_training_part_alone(made):
    folder, _, _, manifest = made
    vocabulary = tft.TFTransformOutput(str(folder / "examples")).vocabulary_by_name("vocabulary")
    counts = Counter(
        vocabulary[token - 2]
        for first, second, _ in read_examples(folder / "examples", "train")
        for token in (*first, *second)
    )
    assert manifest["vocabulary_size"] == len(vocabulary) + 2
    assert list(vocabulary) == sorted(
        counts, key=lambda token: (counts[token], token), reverse=True
    )
    # The character of its own of each eval pair is unknown, once in each of its two sentences.
    evaluation = read_examples(folder / "examples", "eval")
    assert evaluation and all(
        first.count(1) == second.count(1) == 1 for first, second, _ in evaluation
    )
    tokens = sum(len(first) + len(second) for first, second, _ in evaluation)
    assert manifest["out_of_vocabulary_rate"] == pytest.approx(
        2 * len(evaluation) / tokens, abs=1e-6
    )


def test_a_pair_and_its_mirror_are_in_one_part(made):
    folder, _, _, _ = made
    parts = {
        part: {(first, second) for first, second, _ in read_examples(folder / "examples", part)}
        for part in ("train", "eval")
    }
    mirrors = {part: {(b, a) for a, b in pairs} & pairs for part, pairs in parts.items()}
    assert all(mirrors.values())
    assert not {(b, a) for a, b in parts["train"]} & parts["eval"] - mirrors["eval"]
    assert sum(len(pairs) for pairs in mirrors.values()) >= 40


def test_the_graph_tokenises_one_side_alone(made):
    folder, _, _, _ = made
    layer = tft.TFTransformOutput(str(folder / "examples")).transform_features_layer()
    one = layer({"sentence1": tf.constant(["我的card", "\x07"])})["ids1"].to_list()
    other = layer({"sentence2": tf.constant(["我的ＣＡＲＤ", "\x07"])})["ids2"].to_list()
    assert one == other and len(one[0]) == 6 and 1 not in one[0] and one[1] == [1]


def files_of(folder):
    return {
        path.name: path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.name.endswith(".tfrecord.gz") or path.name == "vocabulary"
    }


def test_other_shards_give_the_same_bytes(made, tmp_path):
    folder, pattern, recipe, _ = made
    run(pattern, recipe, tmp_path / "again", "--max_reject_fraction=0.1", "--shard_rows=50")
    assert files_of(tmp_path / "again") == files_of(folder / "examples")


@pytest.mark.slow
def test_worker_processes_give_the_same_bytes(made, tmp_path):
    folder, pattern, recipe, _ = made
    processes = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    run(pattern, recipe, tmp_path / "again", "--max_reject_fraction=0.1", *processes)
    assert files_of(tmp_path / "again") == files_of(folder / "examples")


def test_a_second_run_needs_leave_to_overwrite(made, tmp_path):
    folder, pattern, recipe, _ = made
    with pytest.raises(UserError, match="--eval_shards 1, now 2.*--overwrite"):
        run(pattern, recipe, folder / "examples", "--eval_shards=2")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/home.txt").write_text("dear all")
    with pytest.raises(UserError, match=r"home\.txt"):
        run(pattern, recipe, tmp_path / "letters", "--overwrite")
    assert (tmp_path / "letters/home.txt").exists()


def test_overwriting_leaves_nothing_of_the_older_examples(made, tmp_path):
    _, pattern, _, _ = made
    (tmp_path / "out").mkdir()
    (tmp_path / "out/train-00000-of-00099.tfrecord.gz").write_bytes(b"old")
    manifest = run(
        pattern, write_recipe(tmp_path, RAW), tmp_path / "out", "--overwrite",
        "--max_reject_fraction=1", "--eval_fraction=0", "--eval_shards=2",
    )  # fmt: skip
    assert (manifest["rows_train"], manifest["rows_eval"]) == (190, 0)
    assert [file["rows"] for file in manifest["eval_files"]] == [0, 0]
    assert manifest["out_of_vocabulary_rate"] is None
    assert len(list((tmp_path / "out").glob("*.tfrecord.gz"))) == 5


def test_no_row_left_is_an_error_of_the_input(tmp_path, capsys):
    recipe = write_recipe(tmp_path, RAW)
    pattern = write_input(tmp_path / "pairs", [("a", " ", 1)] * 90)
    flags = ["--input", pattern, "--recipe", recipe, "--output", str(tmp_path / "out")]
    assert run_main(lambda: preprocess.run(flags)) == 2
    assert "no pair is left to train on" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--label_column=score"], "--label_column"),
        (["--sentence1_column=id"], "--sentence1_column"),
        (["--recipe=no-such-recipe"], "no-such-recipe"),
        (["--input=nowhere/*.parquet"], "nowhere"),
        (["--no_such_flag=1"], "no_such_flag"),
    ],
)
def test_mistakes_are_reported_before_any_work(made, tmp_path, flags, message):
    _, pattern, recipe, _ = made
    with pytest.raises(UserError, match=message):
        run(pattern, recipe, tmp_path / "out", *flags)
    assert not list(tmp_path.iterdir())


def test_wordpieces_keep_their_ids_and_numbers_their_values(tmp_path):
    vocabulary = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "cat", "##s")
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    recipe = write_recipe(tmp_path, BERT.replace("VOCABULARY", str(tmp_path / "vocab.txt")))
    table = [("A dog", "two cats", 2.5), ("cat", "dogs", 5.0)]
    pattern = write_input(tmp_path / "pairs", table)
    manifest = run(pattern, recipe, tmp_path / "out", "--eval_fraction=0")
    assert sorted(read_examples(tmp_path / "out", "train")) == [
        ((2, 4, 5, 3), (2, 1, 6, 7, 3), 2.5),
        ((2, 6, 3), (2, 5, 7, 3), 5.0),
    ]
    assert manifest["vocabulary_size"] == 8
    assert manifest["label_counts"]["train"] == {"2.5": 1, "4.5": 1}


def test_raw_text_goes_through_as_it_is(tmp_path):
    pattern = write_input(tmp_path / "pairs", [("A  Dog\x08 ", "狗", 1), ("Ｃat", "猫", 0)])
    manifest = run(pattern, write_recipe(tmp_path, RAW), tmp_path / "out", "--eval_fraction=0")
    found = read_examples(tmp_path / "out", "train", names=("text1", "text2"))
    assert sorted(found) == [
        ((b"A  Dog\x08 ",), ("狗".encode(),), 1.0),
        (("Ｃat".encode(),), ("猫".encode(),), 0.0),
    ]
    assert manifest["vocabulary_size"] == 0
    assert manifest["sentence_length_histogram"] == {"1": 2, "3": 1, "8": 1}


def test_what_goes_to_workers_can_be_pickled():
    how = PairReading(
        PairColumns(label="label"), LabelRule(classes=("0", "1")), EvalSplit(0.1), 100
    )
    for part in (
        ReadPairs(how, "folder"),
        EncodeExamples("train", 3, how.labels, 1),
        StoreExamples("folder", {"train": 3, "eval": 1}, how.labels, 1),
    ):
        assert vars(pickle.loads(pickle.dumps(part))) == vars(part)


def by_groups(recipe):
    return recipe.replace("eval_fraction: 0.3", "eval_fraction: 0.3, eval_split: groups")


def test_by_groups_no_sentence_stands_in_both_parts(tmp_path):
    table = [(f"left {n}", f"right {n // 3}", n % 2) for n in range(300)]
    recipe = write_recipe(tmp_path, by_groups(RAW))
    manifest = run(write_input(tmp_path / "pairs", table), recipe, tmp_path / "out")
    assert (manifest["rows_train"], manifest["rows_eval"]) == (210, 90)  # thirty groups of three
    assert manifest["options"]["eval_split"] == "groups"
    sentences = {}
    for part in ("train", "eval"):
        rows = read_examples(tmp_path / "out", part, names=("text1", "text2"))
        sentences[part] = {text for *sides, _ in rows for (text,) in sides}
    assert (len(sentences["train"]), len(sentences["eval"])) == (210 + 70, 90 + 30)
    assert not sentences["train"] & sentences["eval"]


def test_pairs_that_all_hang_together_cannot_be_parted_by_groups(tmp_path, capsys):
    table = [("左", f"右{n}", n % 2) for n in range(60)]
    recipe = write_recipe(tmp_path, by_groups(RECIPE))
    pattern = write_input(tmp_path / "pairs", table)
    with pytest.raises(UserError, match="its 1 groups of pairs .* choose eval_split: pairs"):
        run(pattern, recipe, tmp_path / "out")


def wordings_and_meanings():
    # Twenty subjects of two meanings with six wordings each: alike are those of one meaning.
    wordings = [f"s{n // 12} m{n // 6} w{n % 6}" for n in range(240)]
    table = [
        (wordings[n], other, int(wordings[n].split()[:2] == other.split()[:2]))
        for n in range(240)
        for other in (
            wordings[n // 6 * 6 + (n + 1) % 6],
            wordings[n // 6 * 6 + (n + 2) % 6],
            wordings[n // 12 * 12 + (n * 7 + 3) % 12],
        )
        if other != wordings[n]
    ]
    return list({frozenset(row[:2]): row for row in table}.values())


@pytest.mark.parametrize("split", ["pairs", "groups"])
def test_pairs_that_follow_join_the_training_part_alone(tmp_path, split, capsys):
    table = wordings_and_meanings()
    text = RAW.replace('["0", "1"]', '["0", "1"], transitive: 2')
    recipe = write_recipe(tmp_path, by_groups(text) if split == "groups" else text)
    pattern = write_input(tmp_path / "pairs", table)
    manifest = run(pattern, recipe, tmp_path / "out")
    read = {
        part: read_examples(tmp_path / "out", part, names=("text1", "text2"))
        for part in ("train", "eval")
    }
    pairs = {part: [frozenset((a, b)) for (a,), (b,), _ in read[part]] for part in read}
    assert len(set(pairs["train"])) == len(pairs["train"])  # none twice, nor its mirror
    assert not set(pairs["train"]) & set(pairs["eval"])
    assert manifest["rows_train"] + manifest["rows_eval"] == manifest["rows_in"] == len(table)
    assert manifest["rows_inferred"] == len(pairs["train"]) - manifest["rows_train"] > 50
    for (a,), (b,), label in read["train"]:
        assert label == (a.split()[:2] == b.split()[:2])
    given = {frozenset(map(str.encode, row[:2])) for row in table}
    assert sum(pair not in given for pair in pairs["train"]) == manifest["rows_inferred"]
    if split == "groups":
        assert not set().union(*pairs["train"]) & set().union(*pairs["eval"])
    assert manifest["inferred_agreement"] == 1
    message = (
        f"{manifest['rows_inferred']:,} pairs that follow from these added to train (100.0% of"
    )
    assert message in capsys.readouterr().out
    again = run(pattern, recipe, tmp_path / "again", "--shard_rows=37")
    assert again["train_files"] == manifest["train_files"]


def test_no_pair_of_a_measured_file_is_inferred(tmp_path, capsys):
    table = wordings_and_meanings()
    text = RAW.replace('["0", "1"]', '["0", "1"], transitive: 2')
    recipe, pattern = write_recipe(tmp_path, text), write_input(tmp_path / "pairs", table)
    free = run(pattern, recipe, tmp_path / "free")
    given = {frozenset(map(str.encode, row[:2])) for row in table}
    found = read_examples(tmp_path / "free", "train", names=("text1", "text2"))
    inferred = sorted((a, b) for (a,), (b,), _ in found if frozenset((a, b)) not in given)
    measured = [(b.decode(), a.decode(), 0) for a, b in inferred[::2]]  # mirrored, labels wrong
    files = write_input(tmp_path / "measured", measured)
    manifest = run(pattern, recipe, tmp_path / "out", "--measured_input", files)
    kept = read_examples(tmp_path / "out", "train", names=("text1", "text2"))
    kept = {frozenset((a, b)) for (a,), (b,), _ in kept}
    assert free["rows_inferred"] == len(inferred) > 50
    assert manifest["rows_inferred"] == len(inferred) - len(measured)
    assert not kept & {frozenset((a, b)) for a, b in inferred[::2]}
    assert manifest["options"]["measured_inputs"] == [files]


def test_weights_and_the_mean_of_teachers_go_with_their_rows(tmp_path):
    count = 40
    table = pa.table(
        {
            "sentence1": [f"a{n}" for n in range(count)],
            "sentence2": [f"b{n}" for n in range(count)],
            "label": [None if n % 4 == 0 else n % 2 for n in range(count)],
            "weight": [float(n) for n in range(count)],
            "one": [n / count for n in range(count)],
            "other": [n / count + 0.01 for n in range(count - 1)] + [float("nan")],
        }
    )
    pq.write_table(table, tmp_path / "pairs.parquet")
    recipe = write_recipe(tmp_path, RAW + "distill: {weight: 0.5}\n")
    columns = ["--weight_column", "weight", "--teacher_column", "one", "other"]
    manifest = run(str(tmp_path / "pairs.parquet"), recipe, tmp_path / "out", *columns)
    assert manifest["rejected_by_reason"] == {"teacher_invalid": 1}
    assert manifest["options"]["numbers"] == ["weight", "teacher"]
    seen = {}
    paths = sorted(str(path) for path in (tmp_path / "out").glob("*.tfrecord.gz"))
    for record in tf.data.TFRecordDataset(paths, "GZIP"):
        feature = tf.train.Example.FromString(record.numpy()).features.feature
        numbers = [feature[name].float_list.value[0] for name in ("label", "weight", "teacher")]
        seen[int(feature["text1"].bytes_list.value[0][1:])] = numbers
    assert sorted(seen) == list(range(count - 1))
    for n, (label, weight, teacher) in seen.items():
        assert math.isnan(label) if n % 4 == 0 else label == n % 2
        assert (weight, teacher) == (n, pytest.approx(n / count + 0.005))
    with pytest.raises(UserError, match="--teacher_column: the recipe learns from no teacher"):
        run(str(tmp_path / "pairs.parquet"), write_recipe(tmp_path, RAW), tmp_path / "no", *columns)


def test_similar_pairs_alone_need_no_label_column(tmp_path):
    text = RAW.replace('labels: {classes: ["0", "1"]}\n', "").replace("kind: l1", "kind: cosine")
    recipe = write_recipe(tmp_path, text.replace("binary_crossentropy", "multiple_negatives"))
    pairs = {"sentence1": [f"a{n}" for n in range(30)], "sentence2": [f"b{n}" for n in range(30)]}
    pq.write_table(pa.table(pairs), tmp_path / "pairs.parquet")
    run(str(tmp_path / "pairs.parquet"), recipe, tmp_path / "out")
    read = [read_examples(tmp_path / "out", part, ("text1", "text2")) for part in ("train", "eval")]
    assert {label for part in read for *_, label in part} == {1}
    assert sum(map(len, read)) == 30
