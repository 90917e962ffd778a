"""Which kind a reader's message is of: a logistic regression over hashed n-grams.

Belongs here: the shipped weights, the thresholds, which messages of a conversation count.
Does not belong here: features (`features.py`), answers (`answers.py`), fitting and the examples
(`deploy/checkout/front_desk_weights.py`).

A recognised kind is no diagnosis: a hint in other words than those of the examples is missed.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from twin_resources.authors.front_desk_settings import DeskKind
from twin_resources.gateway.front_desk.features import features

MessageKind = Literal["ordinary"] | DeskKind
KINDS: tuple[MessageKind, ...] = ("ordinary", *get_args(DeskKind))
WEIGHTS = Path(__file__).with_name("weights.npz")
# Chosen on the tuned half of tests/bench/front_desk: recall of danger at most 1 % of the ordinary
# ones, and 3 % of them for all kinds together.
DANGER_FROM = 0.55
OTHERS_FROM = 0.35
# A reader who said it a moment ago is answered as one who is in danger now.
TURNS_BEFORE = 2
PART_CHARACTERS = 240
_MOST_CHARACTERS = 2000
_MOST_PAIRS = 16  # one costs .4 CPU-ms
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")


@dataclass(frozen=True)
class FittedWeights:
    """What the script has fitted.

    Attributes:
        coefficients: int8 of shape (slots, kinds); times `scale` they are the model's.
        scale, intercepts: float64 of shape (kinds,).
        examples: SHA-256 of the examples that they were fitted to.
    """

    coefficients: np.ndarray
    scale: np.ndarray
    intercepts: np.ndarray
    examples: str

    def probabilities(self, text: str) -> np.ndarray:
        """Float64 of shape (kinds,), in the order of `KINDS`; they sum to 1."""
        slots, values = features(text)
        scores = (values @ self.coefficients[slots].astype(float)) * self.scale + self.intercepts
        grown = np.exp(scores - scores.max())
        return grown / grown.sum()


def kind_of(message: str, before: Sequence[str] = ()) -> MessageKind:
    """The kind of a reader's message.

    Danger is looked for in each part of a long message and in the reader's last messages before
    it; every other kind in the message as a whole, so a greeting above a question is ordinary.

    Args:
        before: the reader's earlier messages, oldest first.
    """
    if danger_of(message, before) >= DANGER_FROM:
        return "danger"
    probabilities = fitted_weights().probabilities(message[:_MOST_CHARACTERS])
    likeliest = int(probabilities.argmax())
    kind = KINDS[likeliest]
    if kind == "danger" or probabilities[likeliest] < OTHERS_FROM:
        return "ordinary"
    return kind


def danger_of(message: str, before: Sequence[str] = ()) -> float:
    """How likely the message, or one before it, speaks of danger: from 0 to 1."""
    weights, place = fitted_weights(), KINDS.index("danger")
    said = [part for text in (*before[-TURNS_BEFORE:], message) for part in parts(text)]
    return max((float(weights.probabilities(part)[place]) for part in said), default=0.0)


def parts(text: str) -> list[str]:
    """What of a text is looked at: all of a short one; of a longer one its sentences in pairs.

    A hint between ten sentences about something else is lost in their n-grams. Of a very long text
    the first pairs and the last count: the hint stands at either end.
    """
    whole = text.strip()
    sentences = [sentence[:PART_CHARACTERS] for sentence in _SENTENCE_END.split(whole)]
    pairs = [f"{first} {second}" for first, second in pairwise(sentences)]
    if len(whole) <= PART_CHARACTERS:
        return [whole]
    half = _MOST_PAIRS // 2
    ends = pairs if len(pairs) <= _MOST_PAIRS else [*pairs[:half], *pairs[-half:]]
    return [whole[:PART_CHARACTERS], whole[-PART_CHARACTERS:], *ends]


@cache
def fitted_weights() -> FittedWeights:
    """The weights of the package, read once."""
    with np.load(WEIGHTS) as stored:
        return FittedWeights(
            stored["coefficients"],
            stored["scale"],
            stored["intercepts"],
            str(stored["examples"]),
        )
