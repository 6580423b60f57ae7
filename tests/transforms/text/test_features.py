import os
import pickle
import re
import subprocess
import sys
import unicodedata
from collections import Counter

import apache_beam as beam
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.examples.records import RAW_SCHEMA, tensor_adapter_config
from transforms.text.features import TextFeatures, normalize

WORDPIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "##s", "##gy", "bark", "！", "我")
# Categories where Python's Unicode tables and ICU's may differ, or that UTF-8 cannot hold.
TEXTS = st.lists(
    st.text(st.characters(exclude_categories=("Cs", "Cn", "Co")), max_size=30), min_size=1
)


def tokens_of(features, sentences):
    def spelled(token):
        return token.decode() if isinstance(token, bytes) else chr(token)

    found = features.tokenize(tf.constant(sentences)).to_list()
    return [[spelled(token) for token in row] for row in found]


# Unicode's Default_Ignorable_Code_Point, which NFKC_Casefold drops.
IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)


def nfkc_casefold(text):
    """Unicode's definition (chapter 3.13), until nothing changes any more."""
    folded = IGNORABLE.sub("", unicodedata.normalize("NFD", text).casefold())
    folded = unicodedata.normalize("NFKC", folded)
    return folded if folded == text else nfkc_casefold(folded)


def visible(character):
    return unicodedata.category(character) not in ("Zs", "Zl", "Zp", "Cc", "Cf")


@settings(max_examples=200)
@given(TEXTS)
def test_characters_are_those_that_python_sees(sentences):
    expected = [[c for c in nfkc_casefold(text) if visible(c)] or ["\n"] for text in sentences]
    assert tokens_of(TextFeatures("char", max_tokens=1000), sentences) == expected


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Ｗhere's   my\u00a0CARD?", ["where", "'", "s", "my", "card", "?"]),
        ("我的card在哪里", ["我", "的", "card", "在", "哪", "里"]),
        ("ありがとうカード", list("ありがとうカード")),
        ("카드를 잃어 버렸어요", ["카드를", "잃어", "버렸어요"]),
        ("so\u00adft\u200b hy\x08phen", ["soft", "hy", "phen"]),
        ("1+1=2€", ["1", "+", "1", "=", "2", "€"]),
        (" \t\u3000\x07", ["\n"]),
        ("a\x00B", ["a", "b"]),
        ("", ["\n"]),
    ],
)
def test_words(sentence, expected):
    assert tokens_of(TextFeatures("word"), [sentence]) == [expected]


def test_case_and_forms_stay_where_the_recipe_says_so():
    plain = TextFeatures("char", lowercase=False, nfkc=False)
    assert tokens_of(plain, ["Ａb C"]) == [["Ａ", "b", "C"]]
    assert tokens_of(TextFeatures("char", lowercase=False), ["Ａb C"]) == [["A", "b", "C"]]
    assert tokens_of(TextFeatures("char", nfkc=False), ["Ａb C"]) == [["ａ", "b", "c"]]


@given(TEXTS)
def test_lower_case_alone_is_pythons(sentences):
    expected = [
        unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).replace("\0", " ").lower())
        for text in sentences
    ]
    found = normalize(tf.constant(sentences), lowercase=True, nfkc=False).numpy()
    assert [text.decode() for text in found] == expected


@pytest.mark.parametrize("tokenizer", ["char", "word"])
def test_no_row_is_empty_or_longer_than_allowed(tokenizer):
    rows = tokens_of(TextFeatures(tokenizer, max_tokens=3), ["", "我 爱 你 们", "a", "\u200b"])
    assert rows == [["\n"], ["我", "爱", "你"], ["a"], ["\n"]]


def greedy_wordpieces(word):
    """Longest match first, as the BERT paper's code does it; one word in lower case."""
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in WORDPIECES:
                pieces.append(WORDPIECES.index(piece))
                start = end
                break
        else:
            return [1]
    return pieces


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("A dogs bark！", ["a", "dogs", "bark", "！"]),
        ("doggy 我我 cats", ["doggy", "我", "我", "cats"]),
        ("déjà\u3000DOGS ＡＢＣ", ["deja", "dogs", "ａｂｃ"]),
        ("do\u200bgs\x07\tbark\ufffd", ["dogs", "bark"]),
        ("dog,s", ["dog", ",", "s"]),
        ("", []),
    ],
)
def test_wordpieces_have_berts_ids(sentence, words):
    features = TextFeatures("wordpiece", nfkc=False, wordpieces=WORDPIECES)
    expected = [2, *(piece for word in words for piece in greedy_wordpieces(word)), 3]
    assert features.tokenize(tf.constant([sentence])).to_list() == [expected]


def test_wordpieces_are_cut_before_their_end_mark():
    features = TextFeatures("wordpiece", max_tokens=4, wordpieces=WORDPIECES)
    assert features.tokenize(tf.constant(["dog dog dog dog"])).to_list() == [[2, 5, 5, 3]]


def test_features_survive_pickling():
    features = TextFeatures("wordpiece", wordpieces=WORDPIECES)
    assert pickle.loads(pickle.dumps(features)) == features


def learn(features, pairs, folder, batch_rows):
    """The graph that tf.Transform learns from pairs, given to it in batches of so many rows."""
    rows = [
        pa.RecordBatch.from_pylist(
            [
                {"sentence1": [a.encode()], "sentence2": [b.encode()], "label": [1.0]}
                for a, b in pairs[start : start + batch_rows]
            ],
            schema=RAW_SCHEMA,
        )
        for start in range(0, len(pairs), batch_rows)
    ]
    with beam.Pipeline("FnApiRunner") as pipeline, tft_beam.Context(temp_dir=f"{folder}/tmp"):
        raw = pipeline | beam.Create(rows)
        graph = (raw, tensor_adapter_config()) | tft_beam.AnalyzeDataset(features)
        _ = graph | tft_beam.WriteTransformFn(folder)
    return tft.TFTransformOutput(folder)


PAIRS = [("b b a", "a c"), ("d d", "e f"), ("一 一", "é ё"), ("一 f", "zz a"), ("B", "\x07")] * 3


def test_vocabulary_is_counted_over_both_sides_whatever_the_batches(tmp_path):
    counts = Counter(word for pair in PAIRS for text in pair for word in text.casefold().split())
    del counts["\x07"]  # a control character is no token
    seen = [word for word, count in counts.items() if count > 3]  # c, e, é, ё and zz go: 3 each
    # Most frequent first; ties in reverse order of their bytes, as tft.vocabulary has it.
    expected = sorted(seen, key=lambda word: (counts[word], word.encode()), reverse=True)[:4]
    features = TextFeatures("word", max_vocabulary=4, min_count=4)
    for batch_rows in (2, 15):
        output = learn(features, PAIRS, str(tmp_path / str(batch_rows)), batch_rows)
        learned = [token.decode() for token in output.vocabulary_by_name("vocabulary")]
        assert learned == expected == ["一", "b", "a", "f"]  # 9, 9, 9 and 6 times


def test_one_side_alone_gives_its_ids(tmp_path):
    output = learn(TextFeatures("word"), PAIRS[:5], str(tmp_path), 5)
    words = [token.decode() for token in output.vocabulary_by_name("vocabulary")]
    sentences = ["B a zz", "unheard of", "\x07"]
    layer = output.transform_features_layer()
    expected = [[words.index(word) + 2 for word in ("b", "a", "zz")], [1, 1], [1]]
    for side in ("1", "2"):
        assert (
            layer({f"sentence{side}": tf.constant(sentences)})[f"ids{side}"].to_list() == expected
        )


@pytest.mark.slow
def test_case_does_not_follow_the_locale():
    code = (
        "import sys, tensorflow as tf\n"
        "from transforms.text.features import normalize\n"
        "both = [normalize(sys.argv[1:], lowercase=True, nfkc=nfkc) for nfkc in (True, False)]\n"
        "print(ascii([text.decode() for texts in both for text in texts.numpy()]))"
    )
    texts = ["ID İzmir", "Ì Í Ĩ Į J\u0303"]
    lowered = [
        unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).lower()) for text in texts
    ]
    expected = [nfkc_casefold(text) for text in texts] + lowered
    for name in ("C.UTF-8", "tr_TR.UTF-8", "lt_LT.UTF-8"):
        run = subprocess.run(
            [sys.executable, "-c", code, *texts],
            env={**os.environ, "LC_ALL": name},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == ascii(expected)
