from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from model.bundle import export as exporting
from model.bundle import loading as bundles
from model.bundle.loading import MANIFEST, load, verify
from model.network.siamese import similarity
from model.recipe.reading import load_recipe
from tests.model.network.test_encoders import save_text_model, text_recipe
from tests.model.tiny_bundle import SENTENCES, build, export, ids_of, write_graph
from tests.model.tiny_recipes import recipe
from transforms.errors import UserError

PAIRS = (SENTENCES, [*SENTENCES[1:], SENTENCES[0]])


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return write_graph(tmp_path_factory.mktemp("graph"), tokenizer="char")


@pytest.fixture(scope="module")
def made(graph, tmp_path_factory):
    """The article's network, tiny: its parts, and a bundle of it."""
    rules = recipe()
    siamese = build(rules)
    threshold = float(np.median(plain_similarity(siamese, rules, graph)))
    folder = tmp_path_factory.mktemp("made") / "b"
    return siamese, rules, export(folder, siamese, rules, graph, threshold=threshold)


@pytest.fixture
def copied(made, tmp_path):
    return Path(shutil.copytree(made[2], tmp_path / "bundle"))


def plain_similarity(siamese, rules, graph, pairs=PAIRS):
    """Both sides through the plain Keras network."""
    output = siamese.network([ids_of(graph, list(side)) for side in pairs])
    return np.asarray(similarity(rules, output))


def strings(sentences) -> np.ndarray:
    return np.array(sentences, object)


def test_scores_as_the_plain_network_does(made, graph):
    siamese, rules, folder = made
    opened = load(folder)
    scores = opened.score(*map(strings, PAIRS))
    expected = plain_similarity(siamese, rules, graph)
    np.testing.assert_allclose(scores["similarity"], expected, atol=1e-5)
    assert scores["similarity"].dtype == np.float32 and scores["label"].dtype == np.int64
    threshold = np.float32(opened.manifest["threshold"])
    np.testing.assert_array_equal(scores["label"], scores["similarity"] >= threshold)
    assert 0 < scores["label"].sum() < len(SENTENCES)  # the median parts them


def test_the_parts_make_the_same_scores(made):
    opened = load(made[2])
    whole = opened.score(*map(strings, PAIRS))
    u, v = (opened.encode(strings(side)) for side in PAIRS)
    assert u.shape == (6, opened.dimensions) and u.dtype == np.float32
    compared = opened.compare(u, v)
    np.testing.assert_allclose(compared["similarity"], whole["similarity"], atol=1e-6)
    np.testing.assert_array_equal(compared["label"], whole["label"])
    values, lengths = opened.tokenize(strings(PAIRS[0]))
    assert values.dtype == np.int32 and lengths.dtype == np.int64
    ids = tf.RaggedTensor.from_row_lengths(values, lengths).to_tensor().numpy()
    np.testing.assert_array_equal(opened.encode_ids(ids), u)


def test_the_order_of_a_pair_does_not_matter_here(made):
    opened = load(made[2])
    forward = opened.score(strings(PAIRS[0]), strings(PAIRS[1]))["similarity"]
    back = opened.score(strings(PAIRS[1]), strings(PAIRS[0]))["similarity"]
    np.testing.assert_array_equal(forward, back)


def test_no_sentence_is_empty_to_the_engine(made):
    values, lengths = load(made[2]).tokenize(strings(["", " ", "\u200b", "还"]))
    assert lengths.tolist() == [1, 1, 1, 1]
    assert (values >= 1).all()


def test_stands_alone(made, graph, tmp_path):
    """Without the examples, moved, and without our code: TensorFlow alone can serve it."""
    siamese, rules, _ = made
    own_graph = shutil.copytree(graph, tmp_path / "examples")
    export(tmp_path / "bundle", siamese, rules, own_graph)
    shutil.rmtree(own_graph)
    moved = shutil.move(tmp_path / "bundle", tmp_path / "elsewhere")
    code = (
        "import sys, json, tensorflow as tf, tensorflow_text\n"
        "score = tf.saved_model.load(sys.argv[1] + '/saved_model').signatures['score']\n"
        "sides = dict(zip(('sentence1', 'sentence2'), map(tf.constant, json.loads(sys.argv[2]))))\n"
        "print(json.dumps(score(**sides)['similarity'].numpy().tolist()))\n"
    )
    command = [sys.executable, "-I", "-c", code, str(moved), json.dumps(PAIRS)]
    done = subprocess.run(command, capture_output=True, cwd="/", check=True)
    expected = plain_similarity(siamese, rules, graph)
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-5)


def test_holds_its_papers(made):
    _, rules, folder = made
    manifest = json.loads(Path(folder, MANIFEST).read_text())
    forward = {p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if p.is_file()}
    assert set(manifest["files"]) == forward - {MANIFEST}
    for name, expected in manifest["files"].items():
        assert hashlib.sha256(Path(folder, name).read_bytes()).hexdigest() == expected
    assert {"recipe.yaml", "metrics.json", "README.md", "saved_model/saved_model.pb"} <= forward
    assert ("model.png" in forward) == (shutil.which("dot") is not None)
    assert load_recipe(f"{folder}/recipe.yaml") == rules
    threshold = manifest["threshold"]
    assert manifest["dimensions"] == 6
    assert manifest["vocabulary_size"] == 200 and manifest["recipe"] == "tiny"
    assert json.loads(Path(folder, "metrics.json").read_text())["threshold"] == threshold
    card = Path(folder, "README.md").read_text()
    assert "0.7500" in card and f"{threshold:.4f}" in card and rules.description in card


def test_nothing_is_pickled_and_nothing_is_a_lambda(made):
    for path in Path(made[2]).rglob("*"):
        assert path.suffix not in (".pkl", ".pickle", ".npy", ".joblib")
        if path.is_file():
            assert b"Lambda" not in path.read_bytes()


FILES = ("recipe.yaml", "metrics.json", "saved_model/saved_model.pb", "README.md")


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_refused_and_named(copied, name):
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(UserError, match=re.escape(f"{name} was changed")):
        load(str(copied))


def test_missing_and_foreign_files_are_refused_and_named(copied):
    (copied / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes.txt does not belong"):
        verify(str(copied))
    (copied / "notes.txt").unlink()
    (copied / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"metrics.json is missing"):
        verify(str(copied))


def edit_manifest(folder, change):
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


@pytest.mark.parametrize("key", ["threshold", "dimensions", "fingerprint", "recipe", "versions"])
def test_a_changed_manifest_is_refused(copied, key):
    edit_manifest(copied, lambda manifest: manifest.update({key: "0"}))
    with pytest.raises(UserError, match=r"manifest.json was changed"):
        verify(str(copied))


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "saved_model/../../outside"])
def test_paths_out_of_the_bundle_are_never_opened(copied, name, monkeypatch):
    (copied.parent / "outside").write_text("secret")
    opened = []
    real = bundles.files.sha256_of
    monkeypatch.setattr(bundles.files, "sha256_of", lambda p: (opened.append(p), real(p))[1])
    edit_manifest(copied, lambda manifest: manifest["files"].update({name: "0" * 64}))
    with pytest.raises(UserError, match=re.escape(f"{name} is missing")):
        verify(str(copied))
    assert all(Path(path).resolve().is_relative_to(copied) for path in opened)


@pytest.mark.parametrize("content", ["[]", "{}", '{"files": []}', '{"files": {}}', "no json"])
def test_what_is_no_bundle_is_refused(tmp_path, content):
    with pytest.raises(UserError, match=r"is not a bundle: it has no manifest.json"):
        verify(str(tmp_path))
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(UserError, match=r"manifest"):
        verify(str(tmp_path))


def test_sums_are_checked_without_tensorflow(made):
    code = (
        "import sys; from model.bundle.loading import verify; verify(sys.argv[1]);"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, made[2]]).returncode == 0


def test_a_new_bundle_takes_the_place_of_the_old_or_leaves_it(made, graph, copied, monkeypatch):
    siamese, rules, folder = made
    first = verify(folder)
    export(copied, build(rules, seed=2), rules, graph, overwrite=True)
    second = verify(str(copied))
    assert second["fingerprint"] != first["fingerprint"]
    monkeypatch.setattr(exporting, "model_card", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(copied, siamese, rules, graph, overwrite=True)
    assert verify(str(copied)) == second
    # Beside it lies the claim alone, which the next run takes over.
    beside = copied.parent / "bundle.partial"
    assert {path.name for path in copied.parent.iterdir()} <= {"bundle", beside.name}
    assert {path.name for path in beside.rglob("*") if path.is_file()} <= {"claim.json"}


def test_says_once_that_graphviz_is_missing(made, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("shutil.which", lambda _: None)
    exporting._draw(made[0], tmp_path / "model.png")
    assert "Graphviz" in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_an_encoder_of_raw_text_goes_into_the_bundle(tmp_path):
    source = save_text_model(tmp_path / "source")
    rules = text_recipe(source)
    siamese = build(rules)
    graph = write_graph(tmp_path / "graph", tokenizer="none")
    folder = export(tmp_path / "b", siamese, rules, graph)
    shutil.rmtree(source)
    shutil.rmtree(graph)
    opened = load(folder)
    assert opened.reads_text and opened.dimensions == 2
    np.testing.assert_array_equal(opened.encode(strings(["abc", "d"])), [[3, 6], [1, 2]])
    expected = similarity(rules, siamese.network([tf.constant(side) for side in PAIRS]))
    found = opened.score(*map(strings, PAIRS))["similarity"]
    np.testing.assert_allclose(found, expected, atol=1e-6)
