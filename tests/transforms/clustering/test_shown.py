"""What people are shown of clusters keeps ids as they are."""

from __future__ import annotations

import pandas as pd

from transforms.clustering.shown import describe

ID = 2**60 + 1  # no float has it


def test_whole_numbers_as_ids_stay_whole():
    ids = pd.array([ID, ID + 2, ID + 3], "Int64")
    named = pd.DataFrame({"cluster": [7, 7, 7], "id": ids, "sentence": ["a", "a", "b"]})
    summary = pd.DataFrame(
        {"cluster_id": pd.array([ID], "Int64"), "size": [3], "weakest": [0.91]}, index=[7]
    )
    found = describe(named, summary, None, None)
    assert found["largest"] == [
        {"cluster_id": str(ID), "size": 3, "weakest": 0.91, "examples": ["a", "b"]}
    ]
    assert found["sizes"] == [0, 1] and found["loosest"] == found["largest"]
