"""A recipe whose files are not here is refused with all their names, before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.recipe.needed_files import check_files, missing_files
from model.recipe.reading import load_recipe
from tests.model.tiny_recipes import recipe
from transforms.errors import UserError


def test_a_recipe_without_files_needs_none():
    assert missing_files(load_recipe("char-bilstm-manhattan")) == []  # vectors of the corpus


def test_word_vectors_count_where_a_training_begins(tmp_path: Path):
    vectors = tmp_path / "glove.txt"
    found = recipe(embedding={"dimensions": 3, "vectors": str(vectors), "trainable": True})
    assert missing_files(found) == [f"embedding.vectors: {vectors} does not exist"]
    assert missing_files(found, start_vectors=False) == []
    vectors.touch()
    assert missing_files(found) == []


def test_all_that_is_missing_is_named(tmp_path: Path):
    values = load_recipe("bert-mean-cosine")
    found = values.model_copy(
        update={"encoder": values.encoder.model_copy(update={"preset": str(tmp_path)})}
    )
    with pytest.raises(UserError, match=r"bert-mean-cosine needs .*config\.json does not exist"):
        check_files(found)
    (tmp_path / "config.json").touch()
    check_files(found)


def test_a_package_that_is_not_installed_is_missing():
    values = load_recipe("universal-cosine")
    preset = {"preset": "package:no_such_package/resources"}
    found = values.model_copy(update={"encoder": values.encoder.model_copy(update=preset)})
    with pytest.raises(UserError, match=r"encoder\.preset: .*'no_such_package' is not installed"):
        check_files(found)
