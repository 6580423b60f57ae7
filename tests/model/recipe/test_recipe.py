from __future__ import annotations

import copy
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from model.recipe import parts
from model.recipe.parts import Training
from model.recipe.paths import resolve_path
from model.recipe.reading import (
    RECIPES,
    describe_recipes,
    load_recipe,
    parse_recipe,
    read_recipe,
    recipe_names,
    with_training,
)
from tests.model.tiny_recipes import recipe, values
from transforms.errors import UserError
from transforms.labels import LabelRule

OF_THE_ARTICLES = {
    "glove-bilstm-l1",
    "bert-cls-concat",
    "char-bilstm-manhattan",
    "char-bilstm-euclidean",
    "cosine-mse",
    "concat-absdiff-softmax",
    "euclidean-contrastive",
    "triplet-semi-hard",
    "triplet-hard",
    "universal-encoder",
    "cnn",
    "transformer",
    "bert-mean-cosine",
    "twin-best",
}


def changed(path: str, value):
    """The tiny recipe's values with one of them set; `a.b` is b within a."""
    *above, key = path.split(".")
    whole = copy.deepcopy(values())
    inner = whole
    for name in above:
        inner = inner[name]
    inner[key] = value
    return whole


def test_every_recipe_of_the_articles_is_there():
    assert set(recipe_names()) >= OF_THE_ARTICLES


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_bears_its_file_s_name_and_survives_yaml(name):
    loaded = load_recipe(name)
    assert loaded.name == name
    assert read_recipe(loaded.to_yaml(), source="copy") == loaded
    assert load_recipe(str(RECIPES / f"{name}.yaml")) == loaded


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_says_where_its_encoder_cannot_promise_bits(name):
    text = (RECIPES / f"{name}.yaml").read_text()
    assert ("\n# Bits: " in text) == load_recipe(name).padding_changes_bits


def test_the_page_of_recipes_tells_of_each():
    page = (Path(__file__).resolve().parents[3] / "docs" / "recipes.md").read_text(encoding="utf-8")
    table = page.split("\n## ")[0]
    assert set(re.findall(r"`([a-z0-9-]+)`", table.split("| --- |", 1)[1])) == set(recipe_names())


def test_each_is_described_in_a_line():
    for name, line in describe_recipes():
        assert "\n" not in line and len(line) < 180, name


def test_the_article_s_recipe_says_what_the_article_says():
    loaded = load_recipe("char-bilstm-manhattan")
    assert loaded.embedding == parts.Embedding(dimensions=300, trainable=False, vectors="corpus")
    assert loaded.encoder.units == (128, 32) and loaded.encoder.pooling == "last"
    assert loaded.comparison.kind == "manhattan" and loaded.loss.kind == "binary_crossentropy"
    assert (loaded.training.optimizer, loaded.training.batch_size) == ("nadam", 512)
    assert loaded.training.epochs == 20


def test_bert_of_the_article_has_its_optimiser():
    training = load_recipe("bert-cls-concat").training
    assert training.optimizer == "adam"
    assert (training.learning_rate, training.epsilon) == (2e-6, 1e-8)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("text.tokeniser", "char", ["text.tokeniser: unknown key", "tokenizer, lowercase"]),
        (
            "text.tokenizer",
            "chars",
            ["text.tokenizer", "'char', 'word', 'wordpiece', 'sentencepiece' or 'none'"],
        ),
        ("text.max_tokens", 0, ["text.max_tokens", "greater than or equal to 3", "received 0"]),
        ("encoder.dropout", 1.5, ["encoder.dropout", "less than 1", "received 1.5"]),
        ("encoder.units", [], ["encoder.units", "at least 1 item"]),
        ("encoder.units", [4, 0], ["encoder.units.1", "received 0"]),
        ("encoder.width", 3, ["encoder.width: unknown key", "kind, units, dropout, pooling"]),
        ("encoder.kind", "rnn", ["encoder.kind", "'bilstm', 'cnn'", "received 'rnn'"]),
        ("loss.margin", 1, ["loss.margin: unknown key", "allowed here: kind;"]),
        ("comparison.hidden", [3], ["comparison.hidden: unknown key", "allowed here: kind;"]),
        ("task", "ranking", ["task", "'binary', 'regression' or 'classes'", "'ranking'"]),
        ("labels.classes", ["0"], ["labels.classes", "at least 2 items"]),
        ("labels.classes", [True, False], ["labels.classes.0", "valid string", "True"]),
        ("colour", "red", ["colour: unknown key", "name, description, source, task"]),
        ("training", {"optimizer": "sgd"}, ["training.optimizer", "'nadam'", "'sgd'"]),
        ("training", {"learning_rate": float("nan")}, ["training.learning_rate"]),
        ("encoder", "bilstm", ["encoder", "received 'bilstm'"]),
    ],
)
def test_names_the_key_what_is_allowed_and_what_was_received(path, value, message):
    with pytest.raises(UserError) as caught:
        parse_recipe(changed(path, value), source="my.yaml")
    message = str(caught.value)
    assert message.startswith("recipe my.yaml: ") and "\n" not in message
    for part in message:
        assert part in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"comparison": {"kind": "cosine"}}, "comparison.kind: loss binary_crossentropy needs"),
        ({"loss": {"kind": "cosine_mse"}}, "comparison.kind: loss cosine_mse needs cosine"),
        ({"loss": {"kind": "softmax_crossentropy"}}, "task: loss softmax_crossentropy needs clas"),
        ({"text": {"tokenizer": "wordpiece"}}, "encoder bilstm needs char or word"),
        ({"text": {"tokenizer": "none"}}, "encoder bilstm needs char or word"),
        ({"encoder": {"kind": "bert", "preset": "x"}, "embedding": None}, "bert needs wordpiece"),
        ({"embedding": None}, "embedding: encoder bilstm needs it"),
        ({"embedding": {"trainable": False}}, "embedding.vectors: .* must come from somewhere"),
        ({"encoder": {"kind": "transformer", "heads": 4}}, r"encoder.heads: must divide .*\(6\)"),
        ({"labels": {"classes": ["a", "b", "c"]}}, "binary needs two"),
        ({"labels": {"classes": ["a", "a"]}}, "needs different class names"),
        ({"labels": {"minimum": 0, "maximum": 1}}, "only for task regression"),
        ({"labels": {}}, "labels.classes: task binary needs"),
        ({"labels": {"classes": ["0", "1"], "similar": "1"}}, "labels.similar"),
        (
            {"task": "regression", "labels": {"minimum": 0, "maximum": 1, "transitive": 1}},
            "labels.transitive",
        ),
        ({"training": {"mirror": True}}, "training.mirror: comparison manhattan sees no diff"),
        ({"task": "regression", "loss": {"kind": "mse"}}, "has numbers"),
        (
            {"task": "regression", "loss": {"kind": "mse"}, "labels": {"minimum": 2, "maximum": 2}},
            "needs labels.minimum below",
        ),
        (
            {"comparison": {"kind": "cosine"}, "loss": {"kind": "cosine_mse", "low": 1}},
            "loss.low: must be below",
        ),
    ],
)
def test_says_which_parts_do_not_fit(changes, message):
    with pytest.raises(UserError, match=message):
        recipe(**changes)


@pytest.mark.parametrize("content", ["a: [", "- 1\n- 2", "", "just words", "\x00", "!!python/x 1"])
def test_says_what_is_no_recipe_at_all(tmp_path, content):
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=re.escape(str(path))) as caught:
        load_recipe(str(path))
    assert "\n" not in str(caught.value)


def test_says_which_recipes_there_are():
    with pytest.raises(UserError, match=r"'nope' not found.*char-bilstm-manhattan"):
        load_recipe("nope")


def test_training_values_can_be_changed_and_are_checked():
    base = recipe()
    more = with_training(base, epochs=3, seed=None, batch_size=7)
    assert (more.training.epochs, more.training.batch_size) == (3, 7)
    assert more.training.seed == base.training.seed and base.training.epochs == 10
    with pytest.raises(UserError, match=r"training.epochs: .*received 0"):
        with_training(base, epochs=0)


def test_label_rules():
    assert recipe().label_rule == LabelRule(classes=("0", "1"))
    assert recipe(labels={"classes": [0, 1]}).labels.classes == ("0", "1")
    numbers = recipe(task="regression", labels={"minimum": 1, "maximum": 5}, loss={"kind": "mse"})
    assert numbers.label_rule == LabelRule(minimum=1, maximum=5)
    assert numbers.label_range == (1.0, 5.0)


def test_the_similar_class_is_the_last_or_the_one_named():
    softmax = {
        "task": "classes",
        "comparison": {"kind": "concat"},
        "loss": {"kind": "softmax_crossentropy"},
    }
    classes = ["no", "maybe", "yes"]
    assert recipe(**softmax, labels={"classes": classes}).similar_class == 2
    assert recipe(**softmax, labels={"classes": classes, "similar": "no"}).similar_class == 0


def test_paths_may_lie_in_a_package(tmp_path):
    assert resolve_path("some/folder") == "some/folder"
    assert resolve_path("package:yaml/inside").endswith("/yaml/inside")
    with pytest.raises(UserError, match=r"'no_such_package' is not installed; .*no-such-package"):
        resolve_path("package:no_such_package/model")


def test_wordpieces_come_from_the_preset_or_from_a_file_named():
    bert = {"encoder": {"kind": "bert", "preset": "bert"}, "embedding": None}
    assert recipe(**bert, text={"tokenizer": "wordpiece"}).vocabulary_path == "bert/vocab.txt"
    named = recipe(**bert, text={"tokenizer": "wordpiece", "vocabulary": "own.txt"})
    assert named.vocabulary_path == "own.txt"
    assert recipe().vocabulary_path is None


def test_yaml_has_no_surprises():
    assert yaml.safe_load(recipe().to_yaml())["encoder"] == {
        "kind": "bilstm",
        "units": [4, 3],
        "dropout": 0.0,
        "pooling": "last",
    }


def test_needs_no_tensorflow():
    code = "import sys, model.recipe.recipe; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_bert_has_places_for_so_many_tokens_only(tmp_path):
    def with_tokens(preset, count):
        return recipe(
            encoder={"kind": "bert", "preset": preset},
            embedding=None,
            text={"tokenizer": "wordpiece", "max_tokens": count},
        )

    (tmp_path / "config.json").write_text('{"model_type": "bert", "max_position_embeddings": 20}')
    assert with_tokens(str(tmp_path), 20).text.max_tokens == 20
    with pytest.raises(
        UserError, match="max_tokens: encoder.preset has places for 20 tokens; re.* 21"
    ):
        with_tokens(str(tmp_path), 21)
    # A bundle is read where the preset is not: nothing to say then.
    assert with_tokens(str(tmp_path / "gone"), 600).text.max_tokens == 600
    assert with_tokens("package:no_such_package/model", 600).text.max_tokens == 600


@pytest.mark.parametrize(
    ("rows", "size", "epochs"),
    [
        (500, 32, 10),  # 16 steps an epoch: 10 epochs are 160
        (3_000, 32, 3),  # 3 epochs of 47 steps in batches of 64 are 141, of 94 in batches of 32 282
        (9_000, 128, 3),  # 3 epochs of 71 steps are 213, of 36 in batches of 256 108
        (1, 32, 160),
        (80_000, 512, 3),
    ],
)
def test_few_examples_get_enough_steps(rows: int, size: int, epochs: int):
    training = Training(batch_size=512, epochs=3, min_steps=160)
    assert training.for_examples(rows) == Training(batch_size=size, epochs=epochs, min_steps=160)


@given(
    rows=st.integers(1, 10**6),
    size=st.integers(1, 2_048),
    epochs=st.integers(1, 50),
    least=st.integers(1, 2_000),
)
def test_no_recipe_takes_fewer_steps_than_it_asks_for(rows, size, epochs, least):
    before = Training(batch_size=size, epochs=epochs, min_steps=least)
    after = before.for_examples(rows)
    assert after.epochs * math.ceil(rows / after.batch_size) >= least
    assert min(size, 32) <= after.batch_size <= size and after.epochs >= epochs
    assert after.for_examples(rows) == after
    without = Training(batch_size=size, epochs=epochs)
    assert without.for_examples(rows) == without
