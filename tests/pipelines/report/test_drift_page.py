"""The page of drift, read back as HTML."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from pipelines.report.drift_page import drift_page


class Bars(HTMLParser):
    """Collects (kind, height) of every bar, and every piece of text."""

    def __init__(self, page: str):
        super().__init__()
        self.bars: list[tuple[str, float]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "rect":
            told = dict(attrs)
            self.bars.append((told["class"], float(told["height"])))

    def handle_data(self, data):
        self.text.append(data)


def test_bars_are_shares_and_titles_tell_them():
    # 1 of 4 tokens unknown when trained, 3 of 4 when scored; the tallest bar is 140 units high.
    found = {"drift": 1.2, "out_of_vocabulary": 1.2}
    page = Bars(drift_page({"out_of_vocabulary": [3, 1]}, {"out_of_vocabulary": [25, 75]}, found))
    known, unknown = page.bars[:2], page.bars[2:]
    assert known == [("before", 140.0), ("now", pytest.approx(46.7))]
    assert unknown == [("before", pytest.approx(46.7)), ("now", 140.0)]
    assert "Drift from training: much, 1.200 (out of vocabulary 1.200)" in page.text
    assert "unknown: 75.00%" in page.text and "Tokens in the vocabulary: 1.200" in page.text


def test_only_what_is_known_is_drawn_and_nothing_is_fetched():
    counts = {"sentence_length": [1] * 20, "similarity": [0] * 19 + [5]}
    found = {"drift": 0.0, "sentence_length": 0.0, "similarity": 0.0}
    text = drift_page(counts, counts, found)
    assert len(Bars(text).bars) == 2 * (20 + 20)
    assert "http" not in text.replace("http-equiv", "") and "<script" not in text


def test_empty_histograms_have_no_bar():
    page = Bars(
        drift_page(
            {"similarity": [0] * 20}, {"similarity": [0] * 20}, {"drift": 0.0, "similarity": 0.0}
        )
    )
    assert {height for _, height in page.bars} == {0.0}
