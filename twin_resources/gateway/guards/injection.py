"""Detect prompt injections: sentences that instruct the model instead of asking the author.

Scope: splitting a text into sentences, and the probability that each is an injection.
Out of scope: n-grams, vectors and the format of the weights (`front_desk/`), fitting and the
examples (`deploy/checkout/guard_weights.py`), the action on a finding (`guard_settings.py`).

The two classifiers are built like those of the front desk. One recognizes wordings from hashed
n-grams. The other, a layer over the vector of a multilingual embedder, recognizes meaning, even in
languages without examples. The examples are in eight languages and cover the families of published
attacks (Perez and Ribeiro 2022, https://arxiv.org/abs/2211.09527; Greshake et al. 2023,
https://arxiv.org/abs/2302.12173).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path

from twin_resources.authors.guard_settings import GuardPlace
from twin_resources.gateway.front_desk.message_kinds import read_weights
from twin_resources.prompt.control_marks import COMMON_MARKS

KINDS = ("ordinary", "front_desk", "injection")
WEIGHTS_FILE = Path(__file__).with_name("weights.npz")
# Thresholds by place. A passage with a finding is not shown, so the threshold for the author's own
# words is higher. They were chosen on public technical posts and on messages by an outside writer,
# when the examples were in four languages. Figures are in tests/bench/RESULTS.md.
INJECTION_THRESHOLDS: Mapping[GuardPlace, float] = {"input": 0.5, "passages": 0.9, "answer": 0.5}
_UNSURE_RANGE = (0.1, 0.9)  # outside this range, the n-grams alone decide
MAX_SENTENCE_CHARACTERS = 300  # a longer sentence is scored in parts
_INJECTION = KINDS.index("injection")
_SENTENCE_END = re.compile(r"[.!?…。](?=\s|$)|\n")
_ENDS_IN_JSON = re.compile(rf'{_SENTENCE_END.pattern}|(?<!\\)(?:\\\\)*"')
_LETTER = re.compile(r"[^\W\d_]")
_SPACED_LETTERS = re.compile(r"(?:\b\w ){4}")
# A short word of letters and digits; a longer one is encoded data. A product name contains one or
# two such words.
_LETTER_DIGIT_WORD = re.compile(r"\b(?=\w*\d)(?=\w*[^\W\d_])\w{2,12}\b")
_MIN_LETTER_DIGIT_WORDS = 4
_DIGITS_AS_LETTERS = str.maketrans("013457", "oieast")
# Cached by digest, because the sentences of posts and streams recur; no text is kept.
_PROBABILITIES: dict[bytes, float] = {}
_MAX_CACHED_PROBABILITIES = 8192


def find_injections(
    text: str, place: GuardPlace, *, as_json: bool = False
) -> list[tuple[int, int]]:
    """Return (start, end) of each sentence that instructs the model or contains a control token.

    Args:
        place: origin of the text, which selects the threshold (`INJECTION_THRESHOLDS`).
        as_json: whether the end of a string in a JSON document ends a sentence.
    """
    spans: list[tuple[int, int]] = []
    threshold = INJECTION_THRESHOLDS[place]
    for start, end in split_sentences(text, as_json=as_json):
        sentence = text[start:end]
        if COMMON_MARKS.escape(sentence) != sentence or _score_sentence(sentence) >= threshold:
            spans.append((start, end))
    return spans


def split_sentences(text: str, *, as_json: bool = False) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each sentence without surrounding white space; a long one in parts."""
    end_pattern = _ENDS_IN_JSON if as_json else _SENTENCE_END
    start = 0
    for end, mark in (
        *((match.end(), match[0]) for match in end_pattern.finditer(text)),
        (len(text), ""),
    ):
        sentence_end = end - len(mark) if mark in {"\n", '"'} else end
        while start < sentence_end:
            if text[start].isspace():  # also before a part, because a stream may be cut here
                start += 1
                continue
            yield start, min(start + MAX_SENTENCE_CHARACTERS, sentence_end)
            start = min(start + MAX_SENTENCE_CHARACTERS, sentence_end)
        start = end


def _score_sentence(sentence: str) -> float:
    """Return the probability of an injection, from the n-grams alone where they are certain."""
    if not _LETTER.search(sentence):
        return 0.0
    digest = blake2b(sentence.encode(), digest_size=16).digest()
    probability = _PROBABILITIES.get(digest)
    if probability is None:
        (mean,) = read_weights(WEIGHTS_FILE).mean_probabilities(
            _normalize(sentence), [_INJECTION], unsure_range=_UNSURE_RANGE
        )
        probability = float(mean)
        if len(_PROBABILITIES) >= _MAX_CACHED_PROBABILITIES:
            _PROBABILITIES.clear()
        _PROBABILITIES[digest] = probability
    return probability


def _normalize(sentence: str) -> str:
    """Remove spaces between single letters, and replace digits used in place of letters."""
    if _SPACED_LETTERS.search(sentence):
        sentence = re.sub(r"(?<=\b\w) (?=\w\b)", "", sentence)
    if len(_LETTER_DIGIT_WORD.findall(sentence)) >= _MIN_LETTER_DIGIT_WORDS:
        return _LETTER_DIGIT_WORD.sub(lambda word: word[0].translate(_DIGITS_AS_LETTERS), sentence)
    return sentence
