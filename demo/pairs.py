"""Makes about 20,000 believable pairs of customer questions, English and Chinese.

A pair's label is 1 where both sentences ask the same: the same intent and the same slot. Most of
the other pairs share a topic, so they share words too. Popular questions come again and again, as
they do in a real log, and a few rows cannot be used. The same seed gives the same bytes.

    python -m demo.pairs demo-data/pairs
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

SEED = 20261121
LABELLED_ROWS = 16_000
TO_SCORE_ROWS = 4_000
ROW_GROUP_ROWS = 1_000
PHRASES = Path(__file__).with_name("phrases.yaml")

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        ("sentence1", pa.string()),
        ("sentence2", pa.string()),
        ("label", pa.int64()),
        ("asked_at", pa.timestamp("us", tz="UTC")),
    ]
)

# Sentences that no one can score: null, empty, and three kinds of blank.
UNUSABLE = (None, "", "   ", "\t\n", "\u3000")
UNUSABLE_EVERY = 500  # one row in 500 has such a sentence
UNLABELLED_EVERY = 2_000  # one labelled row in 2,000 has no label

_BRACES = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Meaning:
    """One thing a customer may ask, and the sentences that ask it, the most popular first."""

    language: str
    topic: str
    sentences: tuple[str, ...]


def meanings(rng: random.Random, *, most: int = 60) -> list[Meaning]:
    """Every intent with every value of its slot, each with up to `most` sentences."""
    languages = yaml.safe_load(PHRASES.read_text(encoding="utf-8"))
    return [
        Meaning(
            language,
            intent["topic"],
            _popular(rng, phrases, intent["questions"], slots, most),
        )
        for language, phrases in languages.items()
        for intent in phrases["intents"].values()
        for slots in _slot_values(intent["questions"], phrases["slots"])
    ]


def _slot_values(questions: list[str], slots: dict[str, list[str]]) -> list[dict[str, str]]:
    names = sorted(
        {name for question in questions for name in _BRACES.findall(question) if name in slots}
    )
    return [dict(zip(names, values, strict=True)) for values in product(*(slots[n] for n in names))]


def _popular(
    rng: random.Random,
    phrases: dict,
    questions: list[str],
    slots: dict[str, str],
    most: int,
) -> tuple[str, ...]:
    """Different sentences that ask the same, in the order in which they were thought of."""
    drawn = (_phrase(rng, phrases, rng.choice(questions), slots) for _ in range(most))
    return tuple(dict.fromkeys(drawn))


def _phrase(rng: random.Random, phrases: dict, question: str, slots: dict[str, str]) -> str:
    sentence = _BRACES.sub(
        lambda m: slots.get(m[1]) or rng.choice(phrases["words"][m[1]]), question
    )
    return rng.choice(phrases["openings"]) + sentence + rng.choice(phrases["endings"])


def pairs(rng: random.Random, rows: int) -> Iterator[tuple[str, str, int]]:
    """Sentence pairs with their label; half of them ask the same."""
    known = meanings(rng)
    near = {  # what is easily mixed up: the same topic in the same language
        one: [m for m in known if (m.language, m.topic) == (one.language, one.topic) and m != one]
        for one in known
    }
    far = {m.language: [n for n in known if n.language == m.language] for m in known}
    for _ in range(rows):
        meaning = rng.choice(known)
        first = _pick(rng, meaning)
        if rng.random() < 0.5:
            yield first, _pick(rng, meaning, but=first), 1
        else:
            others = (
                near[meaning] if near[meaning] and rng.random() < 0.5 else far[meaning.language]
            )
            yield first, _pick(rng, rng.choice([m for m in others if m != meaning])), 0


def _pick(rng: random.Random, meaning: Meaning, but: str | None = None) -> str:
    """A sentence, the popular ones far more often."""
    while True:
        place = min(int(rng.paretovariate(0.7)) - 1, len(meaning.sentences) - 1)
        if meaning.sentences[place] != but:
            return meaning.sentences[place]


def table(rng: random.Random, rows: int, *, first_id: int, unlabelled: bool) -> pa.Table:
    """Pairs as a table of `SCHEMA`, with some rows that must be rejected."""
    asked_at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=first_id // 1_000)
    columns: list[list] = [[], [], [], [], []]
    for place, (sentence1, sentence2, label) in enumerate(pairs(rng, rows)):
        asked_at += timedelta(milliseconds=rng.randrange(1, 120_000))
        row = [first_id + place, sentence1, sentence2, label, asked_at]
        if place % UNUSABLE_EVERY == UNUSABLE_EVERY // 2:
            turn = place // UNUSABLE_EVERY
            row[1 + turn % 2] = UNUSABLE[turn % len(UNUSABLE)]
        elif unlabelled and place % UNLABELLED_EVERY == UNLABELLED_EVERY // 3:
            row[3] = None
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def write_files(data: pa.Table, folder: Path, *, files: int) -> None:
    """Writes the table as several files of several row groups."""
    folder.mkdir(parents=True)
    rows = -(-data.num_rows // files)
    for number in range(files):
        path = folder / f"questions-{number}.parquet"
        pq.write_table(data.slice(number * rows, rows), path, row_group_size=ROW_GROUP_ROWS)


def make(folder: Path, *, seed: int = SEED) -> None:
    """Writes `labelled/` to train with and `to-score/`, both with labels, below the folder."""
    rng = random.Random(seed)
    labelled = table(rng, LABELLED_ROWS, first_id=0, unlabelled=True)
    to_score = table(rng, TO_SCORE_ROWS, first_id=LABELLED_ROWS, unlabelled=False)
    write_files(labelled, folder / "labelled", files=4)
    write_files(to_score, folder / "to-score", files=2)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
    print(f"wrote {LABELLED_ROWS + TO_SCORE_ROWS:,} pairs below {sys.argv[1]}")
