"""What the report says, read from its HTML; the script is tried in a browser elsewhere."""

from __future__ import annotations

import json
import re
from html import escape

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import f1_score

from pipelines.report import mistakes, page
from pipelines.report.svg_charts import ticks
from tests.pipelines.evaluated import evaluated
from tests.scored_pairs import scored_table
from transforms.evaluation.evaluate_shards import EvaluationSettings
from transforms.evaluation.metrics_json import majority_metrics
from transforms.evaluation.scored_rows import ScoredColumns

TABLE = scored_table(2_000)
USED = 0.7751234412193298  # a float32, as a bundle stores it


@pytest.fixture(scope="module")
def found() -> dict:
    found = evaluated(TABLE)
    bundle = {"path": "out/bundle", "fingerprint": "abcdef0123456789", "threshold": USED}
    found["lineage"] = {"inputs": ["out/scores"], "bundle": bundle | {"recipe": "tiny"}}
    return found | {"started": 1_700_000_000.0}


def test_the_top_says_when_of_what_and_by_which_bundle(found: dict):
    top = page.render(found).partition("<main>")[2].partition('class="cards"')[0]
    for text in ("2023-11-14 22:13 UTC", "out/scores", "out/bundle abcdef012345", str(USED)):
        assert f"<dd>{text}</dd>" in top
    assert "2,000 labelled pairs" in top


def test_the_slider_begins_at_the_stored_threshold_with_the_given_labels(found: dict):
    html = page.render(found)
    table = json.loads(re.search(r'id="thresholds">(.*?)</script>', html)[1])
    start = int(re.search(r'id="threshold" [^>]*value="(\d+)"', html)[1])
    label, given = (TABLE[name].to_numpy() for name in ("label", "similarity_label"))
    counts = [np.sum((label == a) & (given == b)) for a, b in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert table[start] == [USED, *counts]
    assert [row[0] for row in table] == sorted({row[0] for row in table})


def test_a_threshold_of_the_evaluation_comes_before_the_bundles(found: dict):
    html = page.render(found | {"made_from": {"threshold": 0.25}})
    start = int(re.search(r'id="threshold" [^>]*value="(\d+)"', html)[1])
    assert json.loads(re.search(r'id="thresholds">(.*?)</script>', html)[1])[start][0] == 0.25


def test_pairs_seen_in_training_are_warned_of(found: dict):
    assert 'class="alarm"' not in page.render(found)
    measured = found["slices"][0] if found["slices"] else {"metrics": {}, "intervals": {}}
    seen = measured | {"slice": "sentences seen in training", "value": "both", "rows": 40}
    html = page.render(found | {"slices": [seen]})
    assert "40 of 2,000 pairs" in html and "few pairs" in html
    assert "few pairs" not in page.render(found | {"slices": [seen | {"rows": 100}]})


def test_rows_of_files_it_was_trained_on_are_warned_of(found: dict):
    html = page.render(found | {"lineage": {"inputs": ["out/scores"], "rows_trained_on": 1_500}})
    alarm = html.partition('class="alarm"')[2].partition("</p>")[0]
    assert "1,500 of 2,000 pairs" in alarm and "trained on" in alarm


@pytest.mark.parametrize(
    ("first", "second", "label", "doubtful"),
    [
        ("A b", "a  b", "0", "equal sentences"),
        ("ＡＢ１", "ab1", "0", "equal sentences"),
        ("How do I pay?", "how do I pay", "0", "equal except for punctuation"),
        ("怎么还款？", "怎么还款", "0", "equal except for punctuation"),
        ("pay rent now", "now pay rent!", "0", "the same words in another order"),
        ("a", "a", "1", None),
        ("a", "b", "0", None),
        ("?", "!", "0", None),
        ("还款", "款还", "0", None),
    ],
)
def test_equal_sentences_with_label_0_are_marked(first, second, label, doubtful):
    mistake = {"sentence1": first, "sentence2": second, "label": label, "similarity": 1.0}
    html = mistakes.worst_section({"false positives": [mistake]})
    marked = re.findall(r">([^<]*): doubtful label", html)
    assert marked == ([doubtful] if doubtful else [])


def test_mistakes_are_named_by_the_rows_own_id():
    ids = [f"<row {n}>" for n in range(TABLE.num_rows)]
    table = TABLE.append_column("key", pa.array(ids)).append_column("id", pa.array(range(2_000)))
    settings = EvaluationSettings(ScoredColumns(id="key"), worst=5)
    worst = evaluated(table, settings)["worst"]
    rows = {row["key"]: row for row in table.to_pylist()}
    for mistake in worst["false positives"] + worst["false negatives"]:
        row = rows[mistake["id"]]
        assert row["sentence1"] == mistake["sentence1"] and row["label"] == int(mistake["label"])
    assert f">{escape(worst['false positives'][0]['id'])}<" in mistakes.worst_section(worst)
    assert "id" not in evaluated(TABLE)["worst"]["false positives"][0]


def test_confusion_of_classes_has_totals_and_shares():
    found = {
        "classes": ["a", "b"], "confusion": [[6, 2], [1, 1]], "classes_measured": {"a": {"rows": 8}}
    }  # fmt: skip
    html = page.confusion_section(found)
    cells = re.findall(r'<td class="number">([^<]*)</td>', html)[:9]
    assert cells == [
        "6 (60.0%)", "2 (20.0%)", "8 (80.0%)", "1 (10.0%)", "1 (10.0%)", "2 (20.0%)",
        "7 (70.0%)", "3 (30.0%)", "10 (100.0%)",
    ]  # fmt: skip


def test_the_majority_has_its_f1(found: dict):
    # Always 0: nothing is called 1, F1 = 0 / FN = 0. Always 1, right for 3 in 4: 2·3 / (2·3 + 1).
    assert majority_metrics(0.75, 0, 2)["f1"] == 0
    assert majority_metrics(0.75, 1, 2)["f1"] == pytest.approx(6 / 7)
    # Three classes: 6/7 for the one, 0 for the other two.
    assert majority_metrics(0.75, 0, 3)["macro_f1"] == pytest.approx(2 / 7)
    label = TABLE["label"].to_numpy()
    always = np.full(len(label), int(found["baselines"]["majority"]["label"]))
    assert found["baselines"]["majority"]["metrics"]["f1"] == pytest.approx(
        f1_score(label, always, zero_division=0)
    )


def test_every_chart_has_round_ticks_and_its_legend_outside(found: dict):
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(1, 7) == [2, 4, 6]
    assert ticks(0, 537) == [0, 200, 400]
    assert ticks(-0.3, 0.3) == [-0.2, 0, 0.2]
    assert ticks(3, 3) == [3]
    html = page.render(found)
    for svg in re.findall(r'<svg viewBox="0 0 360.*?</svg>', html, re.S):
        assert "key" not in svg
    assert html.count('class="legend"') >= 1
    assert "@" not in html.split("<main>")[1].split("</main>")[0]
