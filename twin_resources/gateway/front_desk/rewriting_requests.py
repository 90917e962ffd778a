"""Recognize a request to rewrite an earlier answer: to summarize, shorten or translate it.

The weights are fitted by `deploy/checkout/front_desk_weights.py`.
"""
# pyright: strict

from __future__ import annotations

from pathlib import Path

from twin_resources.gateway.front_desk.message_kinds import PART_CHARACTERS, read_weights

KINDS = ("ordinary", "front_desk", "rewriting")
WEIGHTS_FILE = Path(__file__).with_name("rewriting_weights.npz")
# Chosen on tests/bench/front_desk/rewriting_tuned.jsonl, which was not used for fitting.
THRESHOLD = 0.4
_UNSURE_RANGE = (0.02, 1.0)  # outside this range, the n-grams alone decide


def is_rewriting_request(message: str) -> bool:
    """Return whether a short message, in any language, requests a rewrite of an answer."""
    text, weights = message.strip(), read_weights(WEIGHTS_FILE)
    if len(text) > PART_CHARACTERS:
        return False
    rewriting = [KINDS.index("rewriting")]
    (mean,) = weights.mean_probabilities(text, rewriting, unsure_range=_UNSURE_RANGE)
    return bool(mean >= THRESHOLD)
