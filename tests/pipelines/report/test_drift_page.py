"""The page of drift, read back as HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from pipelines.report.drift_page import drift_page

LENGTHS = {"sentence_length": [0] * 4 + [8, 2] + [0] * 14}
LONGER = {"sentence_length": [0] * 9 + [1, 9] + [0] * 9}


class Bars(HTMLParser):
    """Collects (kind, height) of every bar, and every piece of text."""

    def __init__(self, page: str):
        super().__init__()
        self.bars: list[tuple[str, float]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag == "rect" and found["class"].startswith("bar "):
            self.bars.append((found["class"].removeprefix("bar "), float(found["height"])))

    def handle_data(self, data):
        self.text.append(data)


def test_bars_are_shares_and_titles_name_them():
    # 0.8 and 0.2 in training, 0.1 and 0.9 when scored: the tallest bar, 0.9, fills the chart.
    found = {"drift": 1.2, "sentence_length": 1.2}
    page = Bars(drift_page(LENGTHS, LONGER, found))
    heights = {kind: [h for k, h in page.bars if k == kind and h] for kind in ("before", "one")}
    full = max(heights["one"])
    assert heights["before"] == [pytest.approx(full * part, abs=0.2) for part in (8 / 9, 2 / 9)]
    assert heights["one"] == [pytest.approx(full / 9, abs=0.2), full]
    assert "Drift from training: much, 1.200 (sentence length 1.200)" in page.text
    assert "scored, ≤ 16: 10.00%" in page.text and "Tokens of a sentence: 1.200" in page.text


def test_what_changed_is_said_in_words():
    # 1 of 4 tokens unknown in training, 3 of 4 when scored; two bars across a page say no more.
    trained = {"out_of_vocabulary": [3, 1], "similarity": [9] + [0] * 18 + [1], **LENGTHS}
    scored = {"out_of_vocabulary": [25, 75], "similarity": [2] + [0] * 18 + [8], **LONGER}
    found = {"drift": 1.2, "out_of_vocabulary": 1.2, "sentence_length": 0.2, "similarity": 0.05}
    page = Bars(drift_page(trained, scored, found, {"bundle": "out/bundle abc", "date": "today"}))
    text = "\n".join(page.text)
    assert "75.00% of all tokens are not in the vocabulary, 25.00% in training" in text
    assert "Some change of length: half of the sentences have ≤ 20 tokens, in training ≤ 5" in text
    assert "Little change of similarity: 80.0% of the pairs" in text and "10.0% in training" in text
    assert "out/bundle abc" in page.text and "today" in page.text
    assert len(page.bars) == 2 * (20 + 20)


def test_names_below_the_bars_do_not_overlap():
    page = drift_page(LENGTHS, LONGER, {"drift": 1.2, "sentence_length": 1.2})
    named = re.findall(r'<text class="tick" x="([\d.]+)" y="[\d.]+">([^<]+)</text>', page)
    ends = [(float(x) - 3.5 * len(name), float(x) + 3.5 * len(name)) for x, name in named]
    assert len(named) > 4
    assert all(end < start for (_, end), (start, _) in pairwise(ends))


def test_only_what_is_known_is_drawn_and_nothing_is_fetched():
    counts = {"similarity": [0] * 19 + [5]}
    text = drift_page(counts, counts, {"drift": 0.0, "similarity": 0.0})
    assert len(Bars(text).bars) == 2 * 20 and "length" not in text.partition("<main>")[2]
    assert "http" not in text.replace("http-equiv", "") and "<script" not in text


def test_empty_histograms_have_no_bar():
    empty = {"similarity": [0] * 20}
    page = Bars(drift_page(empty, empty, {"drift": 0.0, "similarity": 0.0}))
    assert {height for _, height in page.bars} == {0.0}
