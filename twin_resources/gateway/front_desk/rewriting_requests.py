"""Recognize a request to rewrite an earlier answer: to summarize, shorten or translate it.

Scope: the shipped weights, and the threshold. Out of scope: the reply (`answers.py`), deciding when
to send it (`stages/fixed_text.py`), the classifiers (`message_kinds.py`), fitting and the examples
(`deploy/checkout/rewriting_weights.py`).
"""
# pyright: strict

from __future__ import annotations

from pathlib import Path

from twin_resources.gateway.front_desk.message_kinds import PART_CHARACTERS, read_weights

KINDS = ("ordinary", "front_desk", "rewriting")
_REWRITING = KINDS.index("rewriting")
WEIGHTS_FILE = Path(__file__).with_name("rewriting_weights.npz")
# Chosen on tests/bench/front_desk/rewriting_tuned.jsonl, which was not used for fitting.
THRESHOLD = 0.4
_UNSURE_RANGE = (0.02, 1.0)  # outside this range, the n-grams alone decide


def is_rewriting_request(message: str) -> bool:
    """Return whether a short message, in any language, requests a rewrite of an answer."""
    text = message.strip()
    return len(text) <= PART_CHARACTERS and rewriting_probability(text) >= THRESHOLD


def rewriting_probability(text: str) -> float:
    """Return the probability that a text requests a rewrite of an earlier answer."""
    return read_weights(WEIGHTS_FILE).mean_probability(text, _REWRITING, unsure_range=_UNSURE_RANGE)
