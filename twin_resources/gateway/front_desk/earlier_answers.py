"""Recognise a request to rewrite an earlier answer: to summarise, shorten or translate it.

Scope: the shipped weights, and the threshold. Out of scope: the reply (`answers.py`), when it is
given (`stages/fixed_text.py`), the classifiers (`message_kinds.py`), fitting and the examples
(`deploy/checkout/rewriting_weights.py`).
"""
# pyright: strict

from __future__ import annotations

from functools import cache
from pathlib import Path

from twin_resources.gateway.front_desk.message_kinds import (
    PART_CHARACTERS,
    FittedWeights,
    read_weights,
)
from twin_resources.gateway.front_desk.message_vectors import embed_message

KINDS = ("ordinary", "front_desk", "rewriting")
_REWRITING = KINDS.index("rewriting")
WEIGHTS = Path(__file__).with_name("rewriting_weights.npz")
# Chosen on tests/bench/front_desk/rewriting_tuned.jsonl, on which the classifiers are not fitted.
THRESHOLD = 0.4
_MIN_UNSURE = (
    0.02  # below it, the n-grams are certain, and no vector (25 ms of CPU time) is computed
)


def asks_to_rewrite(message: str) -> bool:
    """Return whether a message, in any language, asks to rewrite an answer; a long one does not."""
    text = message.strip()
    return len(text) <= PART_CHARACTERS and rewriting_probability(text) >= THRESHOLD


def rewriting_probability(text: str) -> float:
    """Return the mean of both classifiers, or the n-grams alone where they are certain."""
    weights = fitted_weights()
    by_ngrams = float(weights.ngram_probabilities(text)[_REWRITING])
    if by_ngrams < _MIN_UNSURE:
        return by_ngrams
    return (by_ngrams + float(weights.vector_probabilities(embed_message(text))[_REWRITING])) / 2


@cache
def fitted_weights() -> FittedWeights:
    """Read the packaged weights once."""
    return read_weights(WEIGHTS)
