"""Every recipe of the project, by its name, from pairs to scores: an epoch on a few pairs."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import yaml

from model.recipe.reading import RECIPES, load_recipe, recipe_names
from pipelines import preprocess, score, train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROWS = 60
WORDS = ["a", "man", "is", "eating", "dog", "card", "loan", "how", "pay", "如何", "还款", "借"]


def sentences(rng: np.random.Generator) -> list[str]:
    return [" ".join(rng.choice(WORDS, rng.integers(3, 9))) for _ in range(ROWS)]


def pairs(recipe) -> pd.DataFrame:
    """Pairs with labels that the recipe takes; the second half repeats the first side."""
    rng = np.random.default_rng(0)
    first, second = sentences(rng), sentences(rng)
    second[ROWS // 2 :] = first[ROWS // 2 :]
    similar = np.arange(ROWS) >= ROWS // 2
    low, high = recipe.label_range
    labels = np.where(similar, high, low)
    if recipe.labels.classes:
        labels = np.array(recipe.labels.classes)[labels.astype(int)]
    table = pd.DataFrame({"sentence1": first, "sentence2": second, "label": labels})
    return table.assign(negative=sentences(rng)) if recipe.reads_triplets else table


def a_savedmodel(folder) -> str:
    """A stand-in for the Universal Sentence Encoder: strings → [n, 512]."""

    class Hashed(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, text):
            words = tf.strings.to_hash_bucket_fast(tf.strings.split(text), 512)
            return tf.reduce_sum(tf.one_hot(words, 512), axis=1)

    tf.saved_model.save(Hashed(), str(folder))
    return str(folder)


def word_vectors(path, dimensions: int) -> str:
    """A file of GloVe's format with the words of the sentences."""
    rows = (f"{word} " + " ".join(f"{n / 99:.2f}" for n in range(dimensions)) for word in WORDS)
    path.write_text("\n".join(rows), encoding="utf-8")
    return str(path)


def recipe_file(name: str, folder) -> str:
    """The recipe's own file; where it wants a file of one's own, a stand-in is named."""
    values = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    if name == "universal-encoder":
        values["encoder"]["path"] = a_savedmodel(folder / "encoder")
    elif name == "glove-bilstm-l1-article":
        values["embedding"]["vectors"] = word_vectors(folder / "glove.txt", 100)
    else:
        return str(RECIPES / f"{name}.yaml")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    return str(folder / "recipe.yaml")


@pytest.mark.parametrize("name", recipe_names())
def test_it_goes_from_pairs_to_scores(name, tmp_path):
    recipe = load_recipe(name)
    table = pairs(recipe)
    table.to_parquet(tmp_path / "pairs.parquet")
    folders = {step: str(tmp_path / step) for step in ("examples", "bundle", "scores")}
    preprocess.run(
        ["--input", f"{tmp_path}/pairs.parquet", "--recipe", recipe_file(name, tmp_path),
         "--output", folders["examples"], "--train_shards=2", "--eval_fraction=0.3"]
    )  # fmt: skip
    train.run(["--examples", folders["examples"], "--output", folders["bundle"], "--epochs=1"])
    score.run(
        ["--input", f"{tmp_path}/pairs.parquet", "--model", folders["bundle"],
         "--output", folders["scores"]]
    )  # fmt: skip
    scored = pd.concat(map(pd.read_parquet, sorted((tmp_path / "scores").glob("*.parquet"))))
    pd.testing.assert_frame_equal(scored[table.columns], table)
    assert np.isfinite(scored["similarity"]).all()
    if recipe.task == "regression":
        return
    assert scored["similarity"].between(0, 1).all()
    if recipe.task == "binary":
        assert set(scored["similarity_label"]) <= {0, 1}
        manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
        predicted = (scored["similarity"] >= np.float32(manifest["threshold"])).astype(int)
        assert (predicted == scored["similarity_label"]).all()
        return
    classes = list(recipe.labels.classes)
    chances = scored[[c for c in scored.columns if c.startswith("probability")]]
    assert chances.shape[1] == len(classes)
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-5)
    assert set(scored["similarity_label"]) <= set(classes)
    assert [classes[place] for place in chances.to_numpy().argmax(axis=1)] == list(
        scored["similarity_label"]
    )
