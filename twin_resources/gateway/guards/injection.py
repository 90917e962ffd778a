"""Sentences that speak to the model instead of asking its author.

Scope: cutting a text into sentences, and how likely each is such a one.
Out of scope: n-grams, vectors and the form of the weights (`front_desk/`), fitting and the
examples (`deploy/checkout/guard_weights.py`), what is done about a finding (`guard_settings.py`).

The two classifiers are the front desk's: hashed n-grams know wordings, a layer over the vector of a
multilingual embedder knows what is meant, also in languages without an example. The examples are in
English, German, Spanish and French, by the families of published attacks (Perez and Ribeiro 2022,
https://arxiv.org/abs/2211.09527; Greshake et al. 2023, https://arxiv.org/abs/2302.12173).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path

from twin_resources.authors.guard_settings import GuardPlace
from twin_resources.gateway.front_desk.message_kinds import FittedWeights, read_weights
from twin_resources.gateway.front_desk.message_vectors import vector_of
from twin_resources.prompt.control_marks import FAMILIES

KINDS = ("ordinary", "front_desk", "injection")
WEIGHTS = Path(__file__).with_name("weights.npz")
# By place. A passage with a finding is not shown, so the author's own words have to be surer.
# Chosen on public technical posts and, a language left out of the fit, on a stranger's messages: of
# .5 and .6 the first finds .90 of them instead of .86, worst language .83 instead of .73.
INJECTION_FROM: Mapping[GuardPlace, float] = {"input": 0.5, "passages": 0.9, "answer": 0.5}
# Outside of these the n-grams are sure, and no vector is computed (25 CPU-ms).
_UNSURE_FROM, _SURE_FROM = 0.1, 0.9
MAX_SENTENCE = 300  # characters; a longer one is looked at in parts
_INJECTION = KINDS.index("injection")
_SENTENCE_END = re.compile(r"[.!?…。](?=\s|$)|\n")
_ENDS_IN_JSON = re.compile(rf'{_SENTENCE_END.pattern}|(?<!\\)(?:\\\\)*"')
_LETTER = re.compile(r"[^\W\d_]")
_SPACED = re.compile(r"(?:\b\w ){4}")
# A short word of letters and digits; a longer one is encoded. Names of products are one or two.
_WITH_DIGITS = re.compile(r"\b(?=\w*\d)(?=\w*[^\W\d_])\w{2,12}\b")
_MIN_WITH_DIGITS = 4
_DIGITS_AS_LETTERS = str.maketrans("013457", "oieast")
# By the digest of a sentence: posts and a stream's sentences come again, and no text is kept.
_LIKELY: dict[bytes, float] = {}
_MAX_LIKELIHOODS = 8192


def find_injections(
    text: str, place: GuardPlace, *, as_json: bool = False
) -> list[tuple[int, int]]:
    """(begin, end) of each sentence that speaks to the model or holds a control token of one.

    Args:
        place: where the text stands (`INJECTION_FROM`).
        as_json: a sentence ends where a string of the document does.
    """
    found: list[tuple[int, int]] = []
    least = INJECTION_FROM[place]
    for begin, end in sentences(text, as_json=as_json):
        sentence = text[begin:end]
        if FAMILIES.escaped(sentence) != sentence or _likelihood(sentence) >= least:
            found.append((begin, end))
    return found


def sentences(text: str, *, as_json: bool = False) -> Iterator[tuple[int, int]]:
    """(begin, end) of each sentence without the space around it, in parts where it is long."""
    ends = _ENDS_IN_JSON if as_json else _SENTENCE_END
    begin = 0
    for end, after in (*((one.end(), one[0]) for one in ends.finditer(text)), (len(text), "")):
        last = end - len(after) if after in {"\n", '"'} else end
        while begin < last:
            if text[begin].isspace():  # of a part, too: a stream that is cut here begins behind it
                begin += 1
                continue
            yield begin, min(begin + MAX_SENTENCE, last)
            begin = min(begin + MAX_SENTENCE, last)
        begin = end


def _likelihood(sentence: str) -> float:
    """From 0 to 1; the n-grams alone where they are sure."""
    if not _LETTER.search(sentence):
        return 0.0
    digest = blake2b(sentence.encode(), digest_size=16).digest()
    likely = _LIKELY.get(digest)
    if likely is None:
        weights, plain = fitted_weights(), _plain(sentence)
        likely = float(weights.by_ngrams(plain)[_INJECTION])
        if _UNSURE_FROM <= likely < _SURE_FROM:
            likely = (likely + float(weights.by_vector(vector_of(plain))[_INJECTION])) / 2
        if len(_LIKELY) >= _MAX_LIKELIHOODS:
            _LIKELY.clear()
        _LIKELY[digest] = likely
    return likely


def _plain(sentence: str) -> str:
    """Without spaces between letters and digits for letters."""
    if _SPACED.search(sentence):
        sentence = re.sub(r"(?<=\b\w) (?=\w\b)", "", sentence)
    if len(_WITH_DIGITS.findall(sentence)) >= _MIN_WITH_DIGITS:
        return _WITH_DIGITS.sub(lambda word: word[0].translate(_DIGITS_AS_LETTERS), sentence)
    return sentence


@cache
def fitted_weights() -> FittedWeights:
    """The weights of the package, read once."""
    return read_weights(WEIGHTS)
