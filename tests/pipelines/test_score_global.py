"""Encoding once for the whole input: the rows of the plain plan, each sentence encoded once."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.scoring.bundle_scorer import LoadedScorer
from model.scoring.engine import Engine
from model.scoring.scorer_options import ScorerOptions
from pipelines import score
from pipelines.scoring import plan_scores

FIELDS = (pa.field("similarity", pa.float32()), pa.field("similarity_label", pa.int64()))
SENTENCES = [f"question {number % 97}" for number in range(400)]


class LetterTwins:
    """Twins in plain NumPy that note what they were asked to encode."""

    dimensions = 2
    padding_changes_bits = False
    reads_text = False
    packed = None

    def __init__(self, encoded: Counter):
        self.encoded = encoded

    def tokenize(self, sentences):
        self.encoded.update(sentences.tolist())
        ids = [[ord(letter) for letter in sentence] for sentence in sentences]
        return np.array(sum(ids, [])), np.array([len(row) for row in ids])

    def encode_ids(self, ids):
        return np.stack([ids.sum(1), (ids * np.arange(ids.shape[1])).sum(1)], 1).astype(np.float32)

    def compare(self, u, v):
        similarity = np.exp(-np.abs(u - v).sum(1) / 1000)
        return {"similarity": similarity, "label": (similarity > 0.5).astype(np.int64)}


@dataclass(frozen=True)
class FakeBundle:
    """In place of a bundle on disk."""

    bundle: str
    options: ScorerOptions = field(default_factory=ScorerOptions)
    encoded = Counter()

    def verify(self):
        return {"fingerprint": self.bundle, "dimensions": 2}

    def fields(self, manifest):
        return FIELDS

    def load(self):
        return LoadedScorer(Engine(LetterTwins(self.encoded), cache_mb=0), FIELDS, {}, self.options)


@pytest.fixture
def scored(tmp_path, monkeypatch):
    """Runs the real command over two files whose sentences repeat, one of them hot."""
    monkeypatch.setattr(plan_scores, "BundleScorer", FakeBundle)
    for name, shift in (("a", 1), ("b", 2)):
        hot = ["hot" if row % 10 == 0 else text for row, text in enumerate(SENTENCES)]
        table = pa.table({"sentence1": hot, "sentence2": SENTENCES[shift:] + [None] * shift})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=100)

    def run(output, *flags, model="bundle"):
        FakeBundle.encoded.clear()
        paths = ["--input", f"{tmp_path}/*.parquet", "--output", str(tmp_path / output)]
        return score.run([*paths, "--model", model, "--shard_rows", "100", *flags])

    return run


def test_same_bytes_as_shard_by_shard_and_each_sentence_once(scored):
    plain = scored("plain")
    assert FakeBundle.encoded["hot"] == 8  # once a shard: four shards a file, no cache
    whole = scored("whole", "--encode_once=global")
    assert set(FakeBundle.encoded.values()) == {1}
    assert whole["files"] == plain["files"]
    assert whole["sentences"] == whole["sentences_encoded"] == len(FakeBundle.encoded)
    assert whole["rows_rejected"] == 3


def test_a_second_night_takes_every_vector_from_the_store(scored, tmp_path):
    store = f"--embedding_store={tmp_path}/store"
    first = scored("first", store)
    second = scored("second", store)
    assert first["files"] == second["files"]
    assert (first["sentences_encoded"], second["sentences_encoded"]) == (first["sentences"], 0)
    assert not FakeBundle.encoded


def test_a_store_of_another_bundle_is_refused(scored, tmp_path):
    store = f"--embedding_store={tmp_path}/store"
    scored("first", store)
    with pytest.raises(ValueError, match="another bundle"):
        scored("second", store, model="other")


def test_a_store_without_the_global_plan_is_refused(scored):
    with pytest.raises(ValueError, match="--encode_once=global"):
        scored("out", "--encode_once=shard", "--embedding_store=store")
