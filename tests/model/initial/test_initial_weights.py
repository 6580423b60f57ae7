"""Fine-tuning: weights of a bundle in a network whose vocabulary is another."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from model.bundle import export, loading
from model.dataset.examples import Examples, ExampleSet
from model.initial.initial_weights import begin_with, with_rows_of
from model.network.siamese import Siamese, build_siamese
from tests.model.tiny_recipes import recipe
from tests.model.tiny_universal import SMALL, write_weights
from transforms.accounts.staging import stage
from transforms.errors import UserError

OLD, NEW = ["a", "b", "c"], ["c", "d", "a", "e"]
HEAD = {"kind": "l1", "hidden": [3]}


def write_vocabulary(folder: Path, words) -> None:
    folder.mkdir(parents=True)
    (folder / "vocabulary").write_text("\n".join(words) + "\n")


def bundle(tmp_path: Path, rules, seed=1):
    """What a bundle holds that fine-tuning reads: recipe, weights, vocabulary, manifest."""
    keras.utils.set_random_seed(seed)
    old = build_siamese(rules, vocabulary_size=2 + len(OLD))
    local = tmp_path / "local"
    write_vocabulary(local / loading.SAVED_MODEL / "assets", OLD)
    old.network.save_weights(local / loading.WEIGHTS)
    (local / loading.RECIPE).write_text(rules.to_yaml(), encoding="utf-8")
    export.publish_bundle(
        local, stage(str(tmp_path / "bundle"), overwrite=False), {"vocabulary_size": 2 + len(OLD)}
    )
    return old, str(tmp_path / "bundle")


def begun(tmp_path: Path, rules, folder):
    write_vocabulary(tmp_path / "examples" / "transform_fn" / "assets", NEW)
    part = ExampleSet((), ())
    examples = Examples(str(tmp_path / "examples"), part, part, {})
    keras.utils.set_random_seed(2)
    fresh = build_siamese(rules, vocabulary_size=2 + len(NEW))
    start = fresh.encoder.get_layer("embedding").get_weights()[0]
    line = begin_with(folder, fresh, rules, examples)
    return fresh, start, line


def test_known_tokens_keep_their_vectors_and_new_ones_begin_afresh(tmp_path):
    old, folder = bundle(tmp_path, recipe(comparison=HEAD))
    fresh, start, line = begun(tmp_path, recipe(comparison=HEAD), folder)
    table = old.encoder.get_layer("embedding").get_weights()[0]
    found = fresh.encoder.get_layer("embedding").get_weights()[0]
    # Old rows: padding, unknown, a, b, c. New ones: padding, unknown, c, d, a, e.
    np.testing.assert_array_equal(found[[0, 1, 2, 4]], table[[0, 1, 4, 2]])
    np.testing.assert_array_equal(found[[3, 5]], start[[3, 5]])
    for ours, theirs in zip(fresh.encoder.weights[1:], old.encoder.weights[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(fresh.comparison.weights, old.comparison.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (
        line == f"weights from {folder}: 4 tokens of the vocabulary, the encoder, the head as well"
    )


def test_another_head_is_learned_anew(tmp_path):
    _, folder = bundle(tmp_path, recipe())
    fresh, _, line = begun(tmp_path, recipe(comparison=HEAD), folder)
    assert line.endswith("the encoder, no head") and fresh.comparison.weights


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": {"kind": "cnn", "filters": 4}}, r"its encoder is kind bilstm.* is kind cnn"),
        ({"encoder": {"kind": "bilstm", "units": [5, 3]}}, r"units \(4, 3\).*units \(5, 3\)"),
        (
            {"embedding": {"dimensions": 7}},
            "embedding 6, and the recipe's .*embedding 7; they must",
        ),
    ],
)
def test_another_encoder_is_refused(tmp_path, changes, message):
    _, folder = bundle(tmp_path, recipe())
    with pytest.raises(UserError, match=message):
        begun(tmp_path, recipe(**changes), folder)


def test_a_bundle_that_was_changed_is_refused(tmp_path):
    _, folder = bundle(tmp_path, recipe())
    (Path(folder) / loading.RECIPE).write_text("name: other\n")
    with pytest.raises(UserError, match="recipe.yaml was changed"):
        begun(tmp_path, recipe(), folder)


def universal(folder: Path, **changes):
    encoder = {"kind": "universal", "preset": str(folder), "normalize": False}
    return recipe(
        embedding=None,
        encoder=encoder | changes,
        text={"tokenizer": "sentencepiece", "vocabulary": "sp.model"},
        comparison={"kind": "absdiff_product", "hidden": [4]},
    )


def universal_bundle(tmp_path: Path, rules, ids) -> tuple[Siamese, str]:
    """A bundle of a universal encoder whose vectors of some ids were trained."""
    keras.utils.set_random_seed(1)
    old = build_siamese(rules, vocabulary_size=SMALL, trained_ids=ids)
    for weight in old.network.trainable_variables:
        weight.assign(weight + 0.5)
    local = tmp_path / "local"
    local.mkdir()
    old.network.save_weights(local / loading.WEIGHTS)
    (local / loading.RECIPE).write_text(rules.to_yaml(), encoding="utf-8")
    export.publish_bundle(
        local, stage(str(tmp_path / "bundle"), overwrite=False), {"vocabulary_size": SMALL}
    )
    return old, str(tmp_path / "bundle")


@pytest.mark.parametrize("trained", [np.array([3, 5, 9]), None])
@pytest.mark.parametrize("trainable", [True, False])
def test_a_universal_encoder_keeps_the_rows_that_were_trained(tmp_path, trained, trainable):
    rules = universal(write_weights(tmp_path))
    old, folder = universal_bundle(tmp_path, rules, trained)
    part = ExampleSet((), ())
    examples = Examples(str(tmp_path / "examples"), part, part, {"vocabulary_size": SMALL})
    rules = universal(tmp_path, trainable=trainable)
    ids = with_rows_of(folder, np.array([5, 6], np.int32) if trainable else None)
    expected = {5, 6} if trainable else set()
    expected |= set() if trained is None else {3, 5, 9}
    assert set([] if ids is None else ids.tolist()) == expected
    keras.utils.set_random_seed(2)
    fresh = build_siamese(rules, vocabulary_size=SMALL, trained_ids=ids)
    line = begin_with(folder, fresh, rules, examples)
    assert line.endswith("the encoder, the head as well")
    every = np.arange(1, SMALL)[None]
    np.testing.assert_array_equal(
        fresh.encoder.get_layer("table")(every), old.encoder.get_layer("table")(every)
    )
    np.testing.assert_array_equal(fresh.encoder(every), old.encoder(every))
    assert bool(fresh.encoder.trainable_variables) == trainable


def test_a_universal_encoder_of_another_tokenizer_is_refused(tmp_path):
    rules = universal(write_weights(tmp_path))
    _, folder = universal_bundle(tmp_path, rules, None)
    part = ExampleSet((), ())
    examples = Examples(str(tmp_path), part, part, {"vocabulary_size": 20})
    fresh = build_siamese(rules, vocabulary_size=20)
    with pytest.raises(UserError, match="has 69 ids, and that of the examples 20; they must be"):
        begin_with(folder, fresh, rules, examples)


def test_a_bundle_without_weights_is_refused(tmp_path):
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / loading.RECIPE).write_text(recipe().to_yaml(), encoding="utf-8")
    export.publish_bundle(
        tmp_path / "local", stage(str(tmp_path / "bundle"), overwrite=False), {"vocabulary_size": 5}
    )
    with pytest.raises(UserError, match="holds no network.weights.h5, as one that was imported"):
        begun(tmp_path, recipe(), str(tmp_path / "bundle"))
