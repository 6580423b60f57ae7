"""The store gives back what was put in, to its own bundle only, before and after compaction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import store as store_command
from transforms.errors import UserError
from transforms.scoring.embedding_store import EmbeddingStore
from transforms.text_keys import sentence_keys

D = 3


def vectors_of(words: list[str]) -> np.ndarray:
    """A vector that only its word decides."""
    return np.array([[len(word), sum(map(ord, word)), 1] for word in words], np.float32)


def add(store: EmbeddingStore, words: list[str]) -> None:
    store.add(sentence_keys(words), vectors_of(words))


def look_up(store: EmbeddingStore, words: list[str]) -> dict[str, list[float]]:
    into = np.zeros((len(words), D), np.float32)
    found = store.look_up(sentence_keys(words), into)
    return {word: into[place].tolist() for place, word in enumerate(words) if found[place]}


@given(
    batches=st.lists(st.sets(st.text(max_size=3), min_size=1), max_size=5),
    wanted=st.sets(st.text(max_size=3)),
    rows=st.integers(1, 10),
)
def test_finds_just_what_was_added_also_after_compaction(tmp_path_factory, batches, wanted, rows):
    store = EmbeddingStore(str(tmp_path_factory.mktemp("store")), "bundle", D).open()
    for words in batches:
        add(store, sorted(words))
    known = set().union(*batches)
    words = sorted(wanted | known)
    wanted = {word: vector.tolist() for word, vector in zip(words, vectors_of(words), strict=True)}
    wanted = {word: vector for word, vector in wanted.items() if word in known}
    assert look_up(store, words) == wanted
    store.compact(rows=rows)
    assert look_up(store, words) == wanted
    assert sum(store._rows(name) for name in store._files()) == len(known)


def test_compaction_leaves_one_file_where_all_fits(tmp_path):
    store = EmbeddingStore(str(tmp_path), "bundle", D).open()
    add(store, ["a", "b"])
    add(store, ["b", "c"])
    assert store.compact() == (2, 1)
    assert store.compact() == (1, 1)


def test_the_command_compacts_and_refuses_what_is_no_store(tmp_path, capsys):
    store = EmbeddingStore(str(tmp_path / "store"), "bundle", D).open()
    add(store, ["a"])
    add(store, ["b"])
    assert store_command.run(["compact", store.folder]) == (2, 1)
    with pytest.raises(UserError, match="not an embedding store"):
        store_command.run(["compact", str(tmp_path)])


def test_the_same_vectors_added_twice_are_one_file(tmp_path):
    store = EmbeddingStore(str(tmp_path), "bundle", D).open()
    add(store, ["a"])
    add(store, ["a"])
    assert len(store._files()) == 1


def test_another_bundle_is_refused(tmp_path):
    EmbeddingStore(str(tmp_path), "bundle", D).open()
    with pytest.raises(UserError, match="another bundle"):
        EmbeddingStore(str(tmp_path), "other", D).open()


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not an embedding store"):
        EmbeddingStore(str(tmp_path), "bundle", D).open()
