"""Bytes → text: the byte order mark, a given encoding, and a guess at one that was not given."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator

from transforms.errors import UserError

UTF8 = "utf-8"
PIECE_BYTES = 4 << 20
MARK = "\udc00"  # stands for bytes that are no text; no valid text holds it
NOT_TEXT = re.compile("[\ud800-\udfff]")
_MARKS = (  # the longer first: UTF-32's begins like UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ERRORS = "twinbeam_mark"
_SURROGATES = "surrogateescape"  # keeps the bytes, so that they can be guessed at


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return MARK * (error.end - error.start), error.end


codecs.register_error(_ERRORS, _mark)


def known_encoding(name: str) -> str:
    """The codec's own name of a text encoding.

    Raises:
        UserError: there is none of that name.
    """
    try:
        found = codecs.lookup(name)
        "".encode(name)  # codecs from bytes to bytes are none
        return found.name
    except (LookupError, ValueError):
        raise UserError(
            f"--encoding {name!r} is not known; expected a name such as utf-8, utf-16, gb18030, "
            "big5, shift_jis or cp1252"
        ) from None


def byte_order_mark(head: bytes) -> tuple[str | None, int]:
    """The encoding that a byte order mark names, and its length; None where there is none."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name, len(mark)
    return None, 0


def encoding_of(path: str, head: bytes, given: str | None) -> tuple[str, int]:
    """How to decode a file, and how many bytes of a mark come before its text.

    Raises:
        UserError: the file is UTF-16 without a mark, or no text at all.
    """
    marked, skip = byte_order_mark(head)
    if given is None:
        if marked is None:
            _refuse_nulls(path, head)
        return marked or UTF8, skip
    name = known_encoding(given)
    same = marked is not None and marked.replace("-", "").startswith(name.replace("-", ""))
    if same and marked is not None:  # "utf-16" with a mark: the mark says which of the two
        return marked, skip
    return ("utf-16-le" if name == "utf-16" else name), 0


def _refuse_nulls(path: str, head: bytes) -> None:
    """Text in UTF-16 has a null byte at every other place, at least in its delimiters."""
    sample = head[: 1 << 16]
    odd, even = sample[1::2].count(0), sample[::2].count(0)
    if max(odd, even) < max(3, len(sample) // 50):  # a few are characters like others
        return
    if min(odd, even) * 10 <= max(odd, even):
        name = "utf-16-le" if odd > even else "utf-16-be"
        raise UserError(f"{path} is not UTF-8, but most likely UTF-16; give --encoding {name}")
    raise UserError(f"{path} is not text (it is full of null bytes); give CSV, TSV or JSON Lines")


def decoded(read: Callable[[int], bytes], head: bytes, encoding: str) -> Iterator[str]:
    """Text in pieces; a byte that is not text becomes a lone surrogate, which text never has.

    In UTF-8 the surrogates keep the bytes (PEP 383), so that `guess` can look at them.
    """
    errors = _SURROGATES if encoding == UTF8 else _ERRORS
    decoder = codecs.getincrementaldecoder(encoding)(errors=errors)
    piece = head
    while piece:
        yield decoder.decode(piece)
        piece = read(PIECE_BYTES)
    yield decoder.decode(b"", final=True)


def bytes_of(text: str) -> bytes:
    """The bytes that a text of `decoded` in UTF-8 was read from."""
    return text.encode(UTF8, _SURROGATES)


def guess(sample: bytes) -> str | None:
    """The likeliest encoding of bytes that are not UTF-8; None where nothing fits.

    Encodings of several bytes are distinguished by the share of common characters among the
    different ones beyond ASCII: kana in Japanese, the first level of GB 2312 and of Big5 in
    Chinese, Hangul in Korean. Korean is all within GB 2312's first level too, so only a sample of
    some length says Korean.
    """
    kana = {name: _share(sample, name, _is_kana) for name in ("shift_jis", "euc_jp")}
    if max(kana.values()) >= 0.3:
        return max(kana, key=lambda name: kana[name])
    if (
        len({byte for byte in sample if byte >= 0x80}) >= 30
        and _share(sample, "euc_kr", _is_hangul) >= 0.97
    ):
        return "euc_kr"
    chinese = {
        "gb18030": _share(sample, "gb18030", _is_common_gb),
        "big5": _share(sample, "big5", _is_common_big5),
    }
    best = max(chinese, key=lambda name: chinese[name])
    if chinese[best] >= 0.6:
        return best
    high = [byte for byte in sample if byte >= 0x80]
    letters = sum(byte >= 0xC0 or byte in b"\x80\x91\x92\x93\x94\x96\x97" for byte in high)
    return "cp1252" if high and letters >= len(high) / 2 else None


def _share(sample: bytes, name: str, is_common: Callable[[str], bool]) -> float:
    beyond = {letter for letter in sample.decode(name, "replace") if ord(letter) > 0x7F}
    return sum(map(is_common, beyond)) / len(beyond) if beyond else 0.0


def _is_common_gb(letter: str) -> bool:  # 3,755 characters by sound, and the punctuation
    code = letter.encode("gb18030", "ignore")
    in_level = len(code) == 2 and (0xB0 <= code[0] <= 0xD7 or code[0] in (0xA1, 0xA3))
    return in_level and code[1] >= 0xA1


def _is_common_big5(letter: str) -> bool:  # 5,401 characters, and the punctuation
    code = letter.encode("big5", "ignore")
    return len(code) == 2 and 0xA1 <= code[0] <= 0xC6


def _is_kana(letter: str) -> bool:
    return "\u3040" <= letter <= "\u30ff"


def _is_hangul(letter: str) -> bool:
    return "\uac00" <= letter <= "\ud7a3"
