"""Which kind a reader's message is of: two small classifiers, and the mean of what they say.

Belongs here: the shipped weights, the thresholds, which messages of a conversation count.
Does not belong here: n-grams (`features.py`), vectors (`message_vectors.py`), answers
(`answers.py`), fitting and the examples (`deploy/checkout/front_desk_weights.py`).

A logistic regression over hashed n-grams knows wordings, a layer over a sentence's vector knows
what is meant; each finds what the other misses. A recognised kind is no diagnosis.
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
from twin_resources.gateway.front_desk.message_vectors import vector_of

MessageKind = Literal["ordinary"] | DeskKind
KINDS: tuple[MessageKind, ...] = ("ordinary", *get_args(DeskKind))
WEIGHTS = Path(__file__).with_name("weights.npz")
_ORDINARY, _DANGER = KINDS.index("ordinary"), KINDS.index("danger")
# Chosen on examples that the classifiers were not fitted to and on the tuned half of
# tests/bench/front_desk: danger at most 1 % of the ordinary ones, all kinds 3 % of them.
DANGER_FROM = 0.6
OTHERS_FROM = 0.4
# Of a long text the likeliest part counts, and prose has many: what is asked for is surer.
LONG_DANGER_FROM = 0.7
# Below, the n-grams are sure, and no vector is computed: at most 2 % of the danger is lost by it.
_UNSURE_DANGER, _SURE_ORDINARY = 0.08, 0.85
# A reader who said it a moment ago is answered as one who is in danger now.
TURNS_BEFORE = 2
PART_CHARACTERS = 240
_MOST_CHARACTERS = 2000
_MOST_PAIRS = 16  # one costs .4 CPU-ms by n-grams
_MOST_VECTORS = 3  # of a long text; one costs about 60 CPU-ms
_LETTER = re.compile(r"[^\W\d_]")
_NOTHING_SAID = np.eye(len(KINDS))[_ORDINARY]
SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")


@dataclass(frozen=True)
class FittedWeights:
    """What the script has fitted.

    Attributes:
        coefficients: int8 of shape (slots, kinds); times `scale` they are the n-grams' model.
        scale, intercepts: float64 of shape (kinds,).
        hidden: float32 of shape (385, units): the layer over a vector; its last row is added.
        output: float32 of shape (units + 1, kinds), likewise.
        examples: SHA-256 of the examples that they were fitted to.
    """

    coefficients: np.ndarray
    scale: np.ndarray
    intercepts: np.ndarray
    hidden: np.ndarray
    output: np.ndarray
    examples: str

    def by_ngrams(self, text: str) -> np.ndarray:
        """Float64 of shape (kinds,), in the order of `KINDS`; they sum to 1."""
        slots, values = features(text)
        return _softmax(
            (values @ self.coefficients[slots].astype(float)) * self.scale + self.intercepts
        )

    def by_vector(self, vector: np.ndarray) -> np.ndarray:
        """As `by_ngrams`, of a vector of shape (384,)."""
        units = np.maximum(vector @ self.hidden[:-1] + self.hidden[-1], 0.0)
        return _softmax((units @ self.output[:-1] + self.output[-1]).astype(float))

    def probabilities(self, text: str) -> np.ndarray:
        """As `by_ngrams`: theirs alone where they are sure that the text is ordinary, else the
        mean of both."""
        found = self.by_ngrams(text)
        if found[_DANGER] < _UNSURE_DANGER and found[_ORDINARY] >= _SURE_ORDINARY:
            return found
        return (found + self.by_vector(vector_of(text))) / 2


def kind_of(message: str, before: Sequence[str] = ()) -> MessageKind:
    """The kind of a reader's message; 1 to 40 CPU-ms, of a long one up to 200.

    Danger is looked for in each part of a long message and in the reader's last messages before
    it; every other kind in the message as a whole, so a greeting above a question is ordinary.

    Args:
        before: the reader's earlier messages, oldest first.
    """
    weights, text = fitted_weights(), message.strip()
    if len(text) <= PART_CHARACTERS:
        probabilities = weights.probabilities(text) if _LETTER.search(text) else _NOTHING_SAID
        in_danger = probabilities[_DANGER] >= DANGER_FROM
    else:
        probabilities = weights.by_ngrams(text[:_MOST_CHARACTERS])
        in_danger = _is_danger(text)
    if in_danger or any(_is_danger(one) for one in before[-TURNS_BEFORE:]):
        return "danger"
    likeliest = int(probabilities.argmax())
    kind = KINDS[likeliest]
    if kind == "danger" or probabilities[likeliest] < OTHERS_FROM:
        return "ordinary"
    return kind


def _is_danger(text: str) -> bool:
    """Whether a message speaks of danger; of a long one, whether a part does."""
    weights, of_text = fitted_weights(), parts(text)
    if len(of_text) == 1:
        return bool(weights.probabilities(of_text[0])[_DANGER] >= DANGER_FROM)
    likeliest = sorted(of_text, key=lambda part: -weights.by_ngrams(part)[_DANGER])
    return any(
        weights.probabilities(part)[_DANGER] >= LONG_DANGER_FROM
        for part in likeliest[:_MOST_VECTORS]
    )


def _softmax(scores: np.ndarray) -> np.ndarray:
    grown = np.exp(scores - scores.max())
    return grown / grown.sum()


def parts(text: str) -> list[str]:
    """What of a text is looked at: all of a short one; of a longer one its sentences in pairs.

    A hint between ten sentences about something else is lost in their n-grams. Of a very long text
    the first pairs and the last count: the hint stands at either end.
    """
    whole = text.strip()
    sentences = [sentence[:PART_CHARACTERS] for sentence in SENTENCE_END.split(whole)]
    pairs = [f"{first} {second}" for first, second in pairwise(sentences)]
    if len(whole) <= PART_CHARACTERS:
        return [whole]
    half = _MOST_PAIRS // 2
    ends = pairs if len(pairs) <= _MOST_PAIRS else [*pairs[:half], *pairs[-half:]]
    return [whole[:PART_CHARACTERS], whole[-PART_CHARACTERS:], *ends]


@cache
def fitted_weights() -> FittedWeights:
    """The weights of the package, read once."""
    return read_weights(WEIGHTS)


def read_weights(file: Path) -> FittedWeights:
    """What a script of `deploy/checkout` has written."""
    with np.load(file) as stored:
        return FittedWeights(
            stored["coefficients"],
            stored["scale"],
            stored["intercepts"],
            stored["hidden"].astype(np.float32),
            stored["output"].astype(np.float32),
            str(stored["examples"]),
        )
