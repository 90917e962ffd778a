"""Recognize a message about the conversation itself, by meaning and in any language.

A message of the kind `rewriting` asks to summarize, shorten or translate an earlier answer, one of
the kind `talk` asks what was asked or answered before, or where an answer came from. The weights
are fitted by `deploy/checkout/front_desk_weights.py`.
"""
# pyright: strict

from __future__ import annotations

from pathlib import Path
from typing import Literal

from twin_resources.gateway.front_desk.message_kinds import PART_CHARACTERS, read_weights

TalkKind = Literal["", "rewriting", "talk"]
KINDS = ("ordinary", "front_desk", "rewriting", "talk")
WEIGHTS_FILE = Path(__file__).with_name("rewriting_weights.npz")
# Chosen on tests/bench/front_desk/rewriting_tuned.jsonl, which was not used for fitting: 50 of 60
# requests and none of 60 ordinary messages near them are recognized.
THRESHOLD = 0.45
_UNSURE_RANGE = (0.02, 1.0)  # outside this range, the n-grams alone decide


def classify_talk_message(message: str) -> TalkKind:
    """Return the kind of a short message about the conversation, or "" for any other message."""
    text, weights = message.strip(), read_weights(WEIGHTS_FILE)
    if len(text) > PART_CHARACTERS:
        return ""
    rewriting, talk = weights.mean_probabilities(text, (2, 3), unsure_range=_UNSURE_RANGE)
    if max(rewriting, talk) < THRESHOLD:
        return ""
    return "talk" if talk > rewriting else "rewriting"
