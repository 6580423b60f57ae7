"""Labelled pairs → how likely each label is wrong, by all that speaks for the other one.

The witnesses, none of which saw the label that it judges:

- a model of two classes fitted on the other folds (cross-fitting; confident learning ranks by the
  same self-confidence, Northcutt et al., JAIR 2021), over what `evidence` knows of each pair. It is
  fitted twice: labels that the first time doubts count less the second time, in both ways;
- transitivity: a ~ b and b ~ c, but a ≁ c; the model knows how many such c there are;
- the same two sentences, labelled apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from transforms.labelling import evidence
from transforms.labelling.labelled_pairs import LabelledPairs

FOLDS = 5
PASSES = 2
EPOCHS = 10  # of the model of words
MOST_TRIANGLES = 10_000


def chances_of_same(pairs: LabelledPairs, *, seed: int = 0) -> np.ndarray:
    """The chance that each pair is the same, by models that were not fitted on it: float64 [n].

    Pairs of the same two sentences are in one fold, so that no copy gives its label away.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import SGDClassifier
    from threadpoolctl import threadpool_limits

    folds = pairs.folds(FOLDS, seed)
    with threadpool_limits(1):  # OpenMP's threads wait busily for one another
        trust = np.ones(len(folds), np.float32)
        words = evidence.words_apart(pairs)
        near = evidence.nearest_sentences(pairs)
        fixed = evidence.text_evidence(pairs)
        for _ in range(PASSES):
            by_words = cross_fit(
                lambda: SGDClassifier(
                    loss="log_loss", alpha=1e-5, max_iter=EPOCHS, tol=None, random_state=seed
                ),
                words, pairs.label, folds, trust,
            )  # fmt: skip
            columns = [*fixed, by_words, *evidence.label_evidence(pairs, trust)]
            columns += evidence.path_evidence(pairs, near, trust)
            if near is not None:
                columns += evidence.neighbour_evidence(pairs, near, trust)
            chances = cross_fit(
                lambda: HistGradientBoostingClassifier(random_state=seed),
                np.stack(columns, axis=1).astype(np.float32), pairs.label, folds, trust,
            )  # fmt: skip
            # A wrong label also misleads the judgement of its neighbours: what the first pass
            # doubts counts less as evidence, and in fitting, the second time.
            trust = (1 - doubt(pairs.label, chances)).astype(np.float32)
    return chances


def cross_fit(
    make: Callable[[], Any],
    known: Any,
    label: np.ndarray,
    folds: np.ndarray,
    weight: np.ndarray,
) -> np.ndarray:
    """Each row's chance of label 1 by a model that was fitted on the other folds: float64 [n]."""
    chances = np.full(len(label), label.mean())  # stays where the other folds have one label only
    for number in range(int(folds.max(initial=0)) + 1):
        inside, outside = folds == number, folds != number
        if inside.any() and len(np.unique(label[outside])) == 2:
            model = make().fit(known[outside], label[outside], sample_weight=weight[outside])
            chances[inside] = model.predict_proba(known[inside])[:, 1]
    return chances


def doubt(label: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """The chance of the other label, float64 [n], from that of label 1."""
    return np.where(label == 1, 1 - chances, chances)


def doubt_labels(pairs: LabelledPairs, *, seed: int = 0) -> pd.DataFrame:
    """Each label's doubt: `chance_same`, `doubt` (chance of the other label), contradictions.

    `contradictions` counts the sentences that make an impossible triangle with the pair;
    `labelled_apart` says whether the same two sentences have the other label elsewhere, or two
    equal sentences are labelled 0.
    """
    chances = chances_of_same(pairs, seed=seed)
    same, apart = pairs.neighbours(1), pairs.neighbours(0)
    against_no = pairs.products(same, same)
    against_yes = pairs.products(same, apart) + pairs.products(apart, same)
    table = pd.DataFrame({"low": pairs.low, "high": pairs.high, "label": pairs.label})
    different = table.groupby(["low", "high"])["label"].transform("nunique").to_numpy() > 1
    return pd.DataFrame(
        {
            "chance_same": chances,
            "doubt": doubt(pairs.label, chances),
            "contradictions": np.where(pairs.label == 1, against_yes, against_no).astype(np.int64),
            "labelled_apart": different | ((pairs.low == pairs.high) & (pairs.label == 0)),
        }
    )


def triangles(pairs: LabelledPairs, most: int = MOST_TRIANGLES) -> np.ndarray:
    """Contradictions a ~ b, b ~ c, a ≁ c by the numbers of their rows.

    Returns:
        The rows of ab, bc and ac, at most `most`, in the order of those that say ≁: int64 [n, 3].
    """
    row_of: dict[tuple[int, int], int] = {}
    linked: dict[int, set[int]] = {}
    for row in np.flatnonzero((pairs.label == 1) & (pairs.first != pairs.second)).tolist():
        one, other = int(pairs.first[row]), int(pairs.second[row])
        row_of.setdefault((min(one, other), max(one, other)), row)
        linked.setdefault(one, set()).add(other)
        linked.setdefault(other, set()).add(one)
    found: list[tuple[int, int, int]] = []
    for row in np.flatnonzero(pairs.label == 0).tolist():
        one, other = int(pairs.first[row]), int(pairs.second[row])
        for middle in sorted(linked.get(one, set()) & linked.get(other, set())):
            ends = [row_of[min(end, middle), max(end, middle)] for end in (one, other)]
            found.append((ends[0], ends[1], row))
            if len(found) == most:
                return np.array(found, np.int64)
    return np.array(found, np.int64).reshape(-1, 3)
