"""Scores single pairs with a bundle, to try it out.

twinbeam try bundle "how do I pay?" "where can I pay?"
Without sentences it reads pairs from standard input, one a line, separated by a tab.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipelines.options import command_line
from pipelines.options.parser import CommandParser
from pipelines.running.phases import phase
from pipelines.trying.known_sentences import KnownSentences, read_known
from transforms.errors import UserError
from transforms.quiet_tensorflow import import_tensorflow
from transforms.text.token_ids import UNKNOWN_ID

MOST_WORDS = 5  # those that change the similarity most
MOST_NEAR = 3
EXAMPLE = 'twinbeam try bundle "how do I pay?" "where can I pay?"'


def flags() -> argparse.ArgumentParser:
    """All flags of `try`."""
    parser = CommandParser("try", (__doc__ or "").splitlines()[0], EXAMPLE)
    parser.add_argument("bundle", help="folder of the bundle, local or gs://")
    parser.add_argument(
        "sentences",
        nargs="*",
        metavar="SENTENCE1 SENTENCE2",
        help="the two sentences; without them, one pair per line from stdin",
    )
    group = parser.add_argument_group("explanation")
    group.add_argument(
        "--explain",
        action="store_true",
        help="show tokens, unknown tokens, and the effect of removing a word on "
        "the similarity; for two sentences this is the default on a terminal",
    )
    group.add_argument(
        "--known",
        nargs="+",
        default=[],
        metavar="GLOB",
        help="Parquet with sentences (columns sentence, sentence1, sentence2): show those that are "
        "nearest to each of the two",
    )
    group.add_argument(
        "--embedding_store",
        metavar="DIR",
        help="embedding store of score or find with the vectors of --known",
    )
    return parser


def run(argv: Sequence[str] | None = None) -> int:
    """Scores, and returns how many pairs."""
    args = flags().parse_args(argv)
    if len(args.sentences) not in (0, 2):
        raise UserError(f"expected two sentences or none, received {len(args.sentences)}")
    if args.embedding_store and not args.known:
        raise UserError(
            "--embedding_store keeps vectors without their sentences; name the Parquet that holds "
            "the sentences with --known"
        )
    from model.bundle.loading import load

    with phase("loading TensorFlow and the bundle"):
        import_tensorflow()
        bundle = load(args.bundle.rstrip("/"))
        known = read_known(bundle, args.known, args.embedding_store) if args.known else None
    explain = args.explain or bool(args.sentences and sys.stdout.isatty())
    if args.sentences:
        print_pair(bundle, *args.sentences, explain=explain, known=known)
        return 1
    tried = 0
    for sentence1, sentence2 in read_pairs(sys.stdin):
        try:
            print_pair(bundle, sentence1, sentence2, explain=explain, known=known)
            tried += 1
        except UserError as error:
            print(f"twinbeam: {error}", file=sys.stderr, flush=True)
    return tried


def print_pair(
    bundle: Any, sentence1: str, sentence2: str, *, explain: bool, known: KnownSentences | None
) -> None:
    """Prints a pair's similarity, and what explains it.

    Raises:
        UserError: a sentence is blank.
    """
    lines = [format_scores(bundle, sentence1, sentence2)]
    if explain:
        lines += explanation(bundle, sentence1, sentence2)
    if known is not None:
        lines += neighbours(bundle, known, sentence1, sentence2)
    print("\n".join(lines), flush=True)


def neighbours(bundle: Any, known: KnownSentences, *sentences: str) -> list[str]:
    """The known sentences that are nearest to each of the two."""
    lines = []
    for name, sentence in zip(("first", "second"), sentences, strict=True):
        nearest = known.nearest(bundle, sentence, MOST_NEAR)
        lines.append(f"  nearest to the {name}:" + ("" if nearest else " no other is known"))
        lines += [f"    {similarity:.4f}  {text}" for similarity, text in nearest]
    return lines


def format_scores(bundle: Any, sentence1: str, sentence2: str) -> str:
    """Similarity and label of a pair, separated by a tab; probabilities behind them.

    Raises:
        UserError: a sentence is blank.
    """
    if not sentence1.strip() or not sentence2.strip():
        raise UserError("a sentence is blank; expected two that are not blank")
    scored = bundle.score(np.array([sentence1], object), np.array([sentence2], object))
    classes = bundle.manifest.get("classes")
    label = int(scored["label"][0])
    words = [f"similarity {scored['similarity'][0]:.4f}"]
    if bundle.manifest.get("task") != "regression":
        words.append(f"label {classes[label] if classes else label}")
    for name, chance in zip(classes or (), scored.get("probabilities", [[]])[0], strict=True):
        words.append(f"{name} {chance:.4f}")
    return "\t".join(words)


def explanation(bundle: Any, sentence1: str, sentence2: str) -> list[str]:
    """Tokens of both sentences, and what leaving out each word does to the similarity."""
    lines = []
    if not bundle.reads_text:
        ids, lengths = bundle.tokenize(np.array([sentence1, sentence2], object))
        for name, own in zip(("first", "second"), np.split(ids, lengths[:1]), strict=True):
            unknown = int((own == UNKNOWN_ID).sum())
            lines.append(f"  {name}: {len(own)} tokens, {unknown} not in the vocabulary")
    changes = without_a_word(bundle, sentence1, sentence2)
    for change, word, side in sorted(changes, key=lambda found: -abs(found[0]))[:MOST_WORDS]:
        lines.append(f"  without {word!r} in the {side}: {change:+.4f}")
    return lines


def without_a_word(bundle: Any, sentence1: str, sentence2: str) -> list[tuple[float, str, str]]:
    """For each word that can be left out: change of the similarity, the word, its sentence."""
    variants = [
        (word, side, shorter, sentence2) if side == "first" else (word, side, sentence1, shorter)
        for side, sentence in (("first", sentence1), ("second", sentence2))
        for word, shorter in shortened(sentence)
    ]
    if not variants:
        return []
    firsts = [sentence1, *(first for _, _, first, _ in variants)]
    seconds = [sentence2, *(second for _, _, _, second in variants)]
    found = bundle.score(np.array(firsts, object), np.array(seconds, object))["similarity"]
    changes = (found[1:] - found[0]).tolist()
    return [(change, *about[:2]) for change, about in zip(changes, variants, strict=True)]


def shortened(sentence: str) -> list[tuple[str, str]]:
    """Each word of a sentence with what is left without it; characters where nothing is spaced."""
    words, space = sentence.split(), " "
    if len(words) == 1:
        words, space = list(sentence.strip()), ""
    left = ((word, space.join(words[:n] + words[n + 1 :])) for n, word in enumerate(words))
    return [(word, rest) for word, rest in left if rest.strip()]


def read_pairs(lines: Any) -> Iterator[tuple[str, str]]:
    """The pairs of a stream, a line each; lines that hold none are reported and left out."""
    if hasattr(lines, "reconfigure"):
        lines.reconfigure(errors="replace")  # a line in another encoding ends nothing
    if lines.isatty():
        print("two sentences a line, separated by a tab; Ctrl-D ends", file=sys.stderr)
    for line in lines:
        sentence1, tab, sentence2 = line.rstrip("\n").partition("\t")
        if tab and sentence1.strip() and sentence2.strip():
            yield sentence1, sentence2
        elif line.strip():
            print(f"twinbeam: no tab between two sentences in {line.strip()!r}", file=sys.stderr)


def main() -> int:
    """The command line."""
    return command_line.run_main(run)
