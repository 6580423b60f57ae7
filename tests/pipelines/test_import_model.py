"""Models that were trained elsewhere, as bundles: score says what plain Keras says."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from pipelines import import_model, score
from transforms.errors import UserError

WORDS = ["how", "do", "i", "pay", "back", "my", "loan", "借", "款", "还", "如", "何"]
IDS = {word: number for number, word in enumerate(WORDS, start=2)}
PAIRS = [
    ("how do i pay", "how do I pay back my loan"),
    ("pay my loan", "loan my pay pay pay pay pay pay pay back"),
    ("xyz", "how"),
    ("i", "i"),
]
LENGTH = 6


def siamese(length: int | None = LENGTH, *, head: str = "distance", masked: bool = False):
    """A Siamese LSTM as people train them: layers that are shared one by one, or as one model."""
    keras.utils.set_random_seed(3)
    sides = [keras.Input((length,), name=name) for name in ("left", "right")]
    embedding = keras.layers.Embedding(len(IDS) + 2, 5, mask_zero=masked, name="embedding")
    lstm = keras.layers.LSTM(4, name="lstm")
    if head == "nested":
        ids = keras.Input((length,))
        shared = keras.Model(ids, lstm(embedding(ids)), name="tower")
        u, v = (shared(side) for side in sides)
    else:
        u, v = (lstm(embedding(side)) for side in sides)
    if head == "distance":
        apart = keras.ops.sum(keras.ops.abs(u - v), axis=1, keepdims=True)
        return keras.Model(sides, keras.ops.exp(-apart))
    if head == "plain distance":
        return keras.Model(sides, keras.ops.sum(keras.ops.abs(u - v) * 3, axis=1))
    joined = keras.layers.Concatenate()([u, v])
    units, last = (2, "softmax") if head == "two classes" else (1, "sigmoid")
    return keras.Model(sides, keras.layers.Dense(units, last, name="head")(joined))


def write(folder: Path, model: keras.Model) -> tuple[str, str]:
    """A .keras file and its vocabulary."""
    model.save(folder / "own.keras")
    (folder / "words.json").write_text(json.dumps(IDS, ensure_ascii=False))
    pairs = {
        name: [pair[side] for pair in PAIRS] for side, name in enumerate(("sentence1", "sentence2"))
    }
    pq.write_table(pa.table(pairs), folder / "pairs.parquet")
    return str(folder / "own.keras"), str(folder / "words.json")


def plain_ids(
    sentence: str, length: int | None, *, pre: bool, unknown: int | None = 1
) -> list[int]:
    """Ids by hand: known words, unknown ones as 1 or left out, cut and padded."""
    ids = [IDS.get(word.lower(), unknown) for word in sentence.split()]
    ids = [number for number in ids if number is not None]
    if length is None:
        return ids or [0]
    ids = ids[-length:] if pre else ids[:length]
    zeros = [0] * (length - len(ids))
    return zeros + ids if pre else ids + zeros


def scored(folder: Path, *flags: str) -> pa.Table:
    """Imports and scores by the commands."""
    bundle, scores = str(folder / "bundle"), folder / "scores"
    import_model.run([str(folder / "own.keras"), "--output", bundle, "--threshold", "0.4", *flags])
    score.run(
        ["--input", str(folder / "pairs.parquet"), "--model", bundle, "--output", str(scores)]
    )
    return pa.concat_tables(pq.read_table(path) for path in sorted(scores.glob("*.parquet")))


@pytest.mark.parametrize(
    ("head", "pre", "length"),
    [
        ("distance", True, LENGTH),
        ("nested", False, LENGTH),
        ("sigmoid", False, None),
        ("two classes", True, LENGTH),
        ("plain distance", False, LENGTH),
    ],
)
def test_scores_are_those_of_plain_keras(tmp_path, head, pre, length):
    model = siamese(length, head=head, masked=length is None)
    _, words = write(tmp_path, model)
    sides = ["--padding", "pre", "--cut", "pre", "--unknown_id", "drop"] if pre else []
    gives = ["--gives", "distance"] if head == "plain distance" else []
    table = scored(tmp_path, "--vocabulary", words, "--tokenizer", "space", *sides, *gives)
    unknown = None if pre else 1
    expected = []
    for pair in PAIRS:
        rows = [[plain_ids(side, length, pre=pre, unknown=unknown)] for side in pair]
        expected.append(np.asarray(model([np.array(row, np.float32) for row in rows])).ravel()[-1])
    expected = np.exp(-np.array(expected)) if gives else np.array(expected)
    found = table["similarity"].to_numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected) > 1e-3
    assert table["similarity_label"].to_pylist() == (found >= np.float32(0.4)).tolist()


def test_the_card_and_the_manifest_say_what_it_is(tmp_path, capsys):
    model, words = write(tmp_path, siamese())
    flags = [
        model,
        "--output",
        str(tmp_path / "bundle"),
        "--threshold",
        "0.4",
        "--vocabulary",
        words,
    ]
    flags += ["--measured_on", "our test questions", "--name", "own-lstm"]
    metrics = import_model.run(flags)
    out = capsys.readouterr().out
    assert "vectors from the layer 'lstm'" in out and "threshold 0.4; bundle in" in out
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert card.startswith("# own-lstm\n") and "own.keras, trained elsewhere" in card
    assert "0.4000, chosen on our test questions" in card
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert (manifest["dimensions"], manifest["threshold"]) == (4, 0.4)
    assert metrics["vocabulary_size"] == len(IDS) + 2
    # The same again does nothing, and other options are refused.
    before = (tmp_path / "bundle" / "manifest.json").read_bytes()
    assert import_model.run(flags) == metrics
    assert "is complete already: same model and options" in capsys.readouterr().out
    with pytest.raises(UserError, match="holds the bundle of another run.*--overwrite"):
        import_model.run([*flags, "--tokenizer", "word"])
    assert (tmp_path / "bundle" / "manifest.json").read_bytes() == before
    import_model.run([*flags, "--tokenizer", "word", "--overwrite"])


def test_a_model_that_takes_sentences_needs_no_vocabulary(tmp_path):
    keras.utils.set_random_seed(5)
    vectorize = keras.layers.TextVectorization(output_sequence_length=5, vocabulary=WORDS)
    embedding = keras.layers.Embedding(len(WORDS) + 2, 3)
    sides = [keras.Input((), dtype="string", name=name) for name in ("a", "b")]
    u, v = (keras.ops.mean(embedding(vectorize(side)), axis=1) for side in sides)
    model = keras.Model(sides, keras.layers.Dense(1, "sigmoid")(keras.ops.abs(u - v) * 50))
    write(tmp_path, model)
    table = scored(tmp_path)
    sentences = [tf.constant([pair[side] for pair in PAIRS]) for side in (0, 1)]
    expected = np.asarray(model(sentences)).ravel()
    np.testing.assert_allclose(table["similarity"].to_numpy(), expected, atol=1e-5)


def test_a_saved_model_from_sentences_is_a_bundle(tmp_path):
    class Lengths(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, sentences):
            lengths = tf.cast(tf.strings.length(sentences), tf.float32)
            return tf.stack([lengths, tf.ones_like(lengths)], axis=1)

    tf.saved_model.save(Lengths(), str(tmp_path / "lengths"))
    write(tmp_path, siamese())
    bundle, scores = str(tmp_path / "bundle"), tmp_path / "scores"
    flags = [str(tmp_path / "lengths"), "--output", bundle, "--threshold", "0.9"]
    import_model.run(flags)
    score.run(
        ["--input", str(tmp_path / "pairs.parquet"), "--model", bundle, "--output", str(scores)]
    )
    table = pa.concat_tables(pq.read_table(path) for path in sorted(scores.glob("*.parquet")))
    u, v = (np.array([[len(pair[side]), 1.0] for pair in PAIRS]) for side in (0, 1))
    cosine = np.sum(u * v, axis=1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
    np.testing.assert_allclose(table["similarity"].to_numpy(), cosine, atol=1e-5)
    with pytest.raises(UserError, match="--tokenizer means nothing for a SavedModel"):
        import_model.run([*flags, "--tokenizer", "char"])


def refused(folder: Path, model: keras.Model, message: str, *flags: str) -> None:
    """An import that ends with a line, and writes nothing."""
    path, words = write(folder, model)
    given = [path, "--output", str(folder / "none"), "--threshold", "0.5", "--vocabulary", words]
    with pytest.raises(UserError, match=message):
        import_model.run([*given, *flags])
    assert not (folder / "none").exists()


def test_code_in_a_model_is_refused_and_not_run(tmp_path):
    side = [keras.Input((LENGTH,)) for _ in range(2)]
    code = keras.layers.Lambda(lambda x: x * 2.0, output_shape=(LENGTH,), name="sneaky")
    model = keras.Model(side, keras.ops.sum(code(side[0]) - code(side[1]), axis=1))
    refused(tmp_path, model, "the layer 'sneaky' is a Lambda, which is code; write it as layers")


@keras.saving.register_keras_serializable("somebody")
class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return inputs * 2.0


def test_layers_of_others_are_refused(tmp_path):
    side = [keras.Input((LENGTH,)) for _ in range(2)]
    double = Doubled(name="own")
    model = keras.Model(side, keras.ops.sum(double(side[0]) - double(side[1]), axis=1))
    refused(tmp_path, model, "the layer 'own' is a Doubled, which is not Keras's own")


def test_what_is_no_siamese_model_is_refused(tmp_path):
    side = [keras.Input((LENGTH,)) for _ in range(2)]
    apart = [keras.layers.Dense(3)(each) for each in side]
    one = keras.layers.Dense(1, "sigmoid")(keras.layers.Subtract()(apart))
    refused(tmp_path, keras.Model(side, one), "two sides encode a sentence differently")
    single = keras.Model(side[0], keras.layers.Dense(1)(side[0]))
    refused(tmp_path, single, "has 1 inputs and 1 outputs; expected two inputs")
    refused(tmp_path, siamese(), "--encoder_layer nowhere: no such layer .* are: embedding, lstm",
            "--encoder_layer", "nowhere")  # fmt: skip
    refused(tmp_path, siamese(), r"after the layer 'embedding' a sentence is .* not a vector",
            "--encoder_layer", "embedding")  # fmt: skip
    refused(
        tmp_path, siamese(head="plain distance"), "expected a similarity from 0 to 1; is it a d"
    )
    refused(tmp_path, siamese(), "--max_tokens 9: the model takes 6 ids", "--max_tokens", "9")


@pytest.mark.parametrize(
    ("content", "message"),
    [("[", "expected JSON of token"), ('{"a": "b"}', "neither a list"), ("[]", "it is empty")],
)
def test_what_is_no_vocabulary_is_refused(tmp_path, content, message):
    path, words = write(tmp_path, siamese())
    Path(words).write_text(content)
    with pytest.raises(UserError, match=message):
        import_model.run([path, "--output", "none", "--threshold", "0.5", "--vocabulary", words])
    with pytest.raises(UserError, match="takes ids; give the file that says"):
        import_model.run([path, "--output", "none", "--threshold", "0.5"])


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "old.h5").write_bytes(b"\x89HDF")
    for name, message in (
        ("old.h5", "is not a .keras file; save the model again"),
        ("nowhere", "neither a .keras file nor a folder"),
    ):
        with pytest.raises(UserError, match=message):
            import_model.run(
                [str(tmp_path / name), "--output", str(tmp_path / "none"), "--threshold", "0.5"]
            )


def repacked(path: str, **parts: bytes | None) -> Path:
    """The same file with other parts, or without them; `__` stands for a dot."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content |= {name.replace("__", "."): part for name, part in parts.items()}
    changed = Path(path).with_name("changed.keras")
    with zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in content.items():
            if part is not None:
                archive.writestr(name, part)
    return changed


def test_foreign_files_end_with_one_line_and_fill_no_memory(tmp_path):
    path, words = write(tmp_path, siamese())
    given = ["--output", str(tmp_path / "none"), "--threshold", "0.5", "--vocabulary", words]
    config = json.loads(zipfile.ZipFile(path).read("config.json"))
    lstm = next(each for each in config["config"]["layers"] if each["class_name"] == "LSTM")
    ours = {"class_name": "SavedModelVectors", "module": "keras.layers", "config": {"folder": "x"},
            "registered_name": "twinbeam>SavedModelVectors"}  # fmt: skip
    cases: list[tuple[dict[str, bytes | None], str]] = [
        ({"config__json": b"[" * 100_000}, "holds no config.json that can be read"),
        ({"config__json": b"[]"}, "holds no config.json that can be read"),
        ({"config__json": None}, "holds no config.json that can be read"),
        ({"config__json": b" " * (33 << 20)}, "its config.json has 34,603,008 bytes"),
        ({"more": bytes(96 << 20)}, "unpacks to .* as no model that Keras saved does"),
        ({"model__weights__h5": b"nonsense"}, "Keras cannot read it"),
    ]
    for activation, message in (
        (ours, "a SavedModelVectors, which is not Keras's own"),
        ({"class_name": "__lambda__", "module": "keras", "config": {}}, "is a Lambda"),
        ({"class_name": "function", "module": "os", "config": "system"}, "Keras cannot read it"),
    ):
        lstm["config"]["activation"] = activation
        cases.append(({"config__json": json.dumps(config).encode()}, message))
    for parts, message in cases:
        with pytest.raises(UserError, match=message):
            import_model.run([str(repacked(path, **parts)), *given])
    damaged = bytearray(Path(path).read_bytes())
    start = damaged.find(b"config.json") + 60
    damaged[start : start + 20] = bytes(20)
    (tmp_path / "damaged.keras").write_bytes(damaged)
    (tmp_path / "folder.keras").mkdir()
    for name, message in (("damaged", "can be read"), ("folder", "neither a .keras file nor")):
        with pytest.raises(UserError, match=message):
            import_model.run([str(tmp_path / f"{name}.keras"), *given])


def test_a_loss_of_ones_own_is_no_reason_to_refuse_a_model(tmp_path):
    def contrastive(labels, distances):
        return keras.ops.mean(labels * distances)

    model = siamese()
    model.compile("adam", loss=contrastive, metrics=[contrastive])
    _, words = write(tmp_path, model)
    assert scored(tmp_path, "--vocabulary", words).num_rows == len(PAIRS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 99}', "the model has no id 99"),
        ('{"a": 99999999999999999999}', "neither a list nor an object"),
        ("[" * 100_000, "expected JSON of token"),
        (r'{"\ud800": 2}', "expected JSON of token"),
    ],
)
def test_a_vocabulary_of_another_model_is_refused(tmp_path, content, message):
    path, words = write(tmp_path, siamese())
    Path(words).write_text(content)
    given = ["--output", str(tmp_path / "none"), "--threshold", "0.5", "--vocabulary", words]
    with pytest.raises(UserError, match=message):
        import_model.run([path, *given])
    Path(words).write_text(json.dumps(IDS))
    with pytest.raises(UserError, match="has no id 77"):
        import_model.run([path, *given, "--unknown_id", "77"])


def test_models_that_cannot_be_called_are_refused(tmp_path):
    broken = siamese()
    for layer in broken.layers:
        layer.set_weights([np.full_like(weight, np.nan) for weight in layer.get_weights()])
    refused(tmp_path, broken, "vectors are no numbers")
    sides = [keras.Input((3,), dtype="string") for _ in range(2)]
    lookup, embedding = keras.layers.StringLookup(vocabulary=WORDS), keras.layers.Embedding(20, 3)
    u, v = (keras.ops.mean(embedding(lookup(side)), axis=1) for side in sides)
    tokens = keras.Model(sides, keras.layers.Dense(1, "sigmoid")(keras.ops.abs(u - v)))
    refused(tmp_path, tokens, "an input of the model is string .* or a sentence a pair")


class OfTwo(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)] * 2)
    def __call__(self, one, other):
        return tf.cast(tf.strings.length(one), tf.float32)[:, None]


class OfNumbers(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def __call__(self, numbers):
        return tf.cast(numbers, tf.float32)[:, None]


class NoNumbers(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, sentences):
        return tf.cast(tf.strings.length(sentences), tf.float32)[:, None] * [[np.nan, 1.0]]


def test_foreign_saved_models_end_with_one_line(tmp_path):
    cases = [
        (OfTwo(), [], "does not make vectors of sentences"),
        (OfTwo(), ["--signature", "serving_default"], "takes one, other; expected one argument"),
        (OfNumbers(), [], "does not make vectors of sentences"),
        (NoNumbers(), [], "vectors are no numbers"),
    ]
    for number, (module, flags, message) in enumerate(cases):
        folder = tmp_path / str(number)
        tf.saved_model.save(module, str(folder))
        given = [str(folder), "--output", str(tmp_path / "none"), "--threshold", "0.5"]
        with pytest.raises(UserError, match=message):
            import_model.run([*given, *flags])
    for part, content in (("variables/variables.index", b""), ("saved_model.pb", b"nonsense")):
        (folder / part).write_bytes(content)
        with pytest.raises(UserError, match="TensorFlow cannot load it"):
            import_model.run(given)
