"""Sentences of eight languages, put together from everyday words."""

from __future__ import annotations

import numpy as np

WORDS = {
    "English": "how do I pay my card bill before Friday , and what does late payment cost ?",
    "German": "wie bezahle ich meine Rechnung vor Freitag , und was kostet die Verspätung ?",
    "French": "comment payer ma facture avant vendredi , et combien coûte le retard ?",
    "Spanish": "¿ cómo pago mi factura antes del viernes y cuánto cuesta el retraso ?",
    "Russian": "как оплатить мой счёт до пятницы , и сколько стоит просрочка ?",
    "Chinese": "如何 在 周五 之前 还款 ， 逾期 要 付 多少 利息 ？ 花呗 借呗 额度 12.5% ＡＢＣ",
    "Japanese": "金曜日 まで に どう やって 請求書 を 払い ます か ？ 遅れる と いくら ですか",
    "Korean": "금요일 전에 카드 요금을 어떻게 내나요 ? 늦으면 얼마 인가요 수수료는",
}
JOINED = ("Chinese", "Japanese")  # written without spaces


def sentences(count: int, *, seed: int = 0) -> list[str]:
    """So many different sentences, of 1 to 30 words, each language as often as another."""
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        for language, words in WORDS.items():
            drawn = rng.choice(words.split(), rng.integers(1, 31))
            found.setdefault(("" if language in JOINED else " ").join(drawn))
    return list(found)[:count]
