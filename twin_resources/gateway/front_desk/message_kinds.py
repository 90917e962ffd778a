"""Which kind a reader's message is of: the geometric mean of two small classifiers.

Scope: the shipped weights, the thresholds, which messages of a conversation count.
Out of scope: n-grams (`features.py`), vectors (`message_vectors.py`), answers
(`answers.py`), fitting and the examples (`deploy/checkout/front_desk_weights.py`).

A logistic regression over hashed n-grams knows wordings, a layer over a sentence's vector knows
what is meant; each finds what the other misses. By the geometric mean neither may rule a kind out:
in five folds of the examples by meaning, where 2 % of the ordinary ones are taken for danger, 29 %
of the danger is missed, by the arithmetic mean 32 %. A recognised kind is no diagnosis.
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
_OTHERS = 2  # place of the first kind that is neither
# Chosen on the tuned set of tests/bench/front_desk, which the classifiers are not fitted to: of the
# danger 97 % is recognised, and of the ordinary ones 1 % are taken for any kind.
DANGER_FROM = 0.58
OTHERS_FROM = 0.2  # of itself and ordinary together
_OF_WHOLE = 0.4  # weight of a message as a whole; the rest is its likeliest part's
# Of a long text the likeliest part counts, and prose has many: what is asked for is surer.
LONG_DANGER_FROM = 0.7
# Below, the n-grams are sure, and no vector is computed: at most 2 % of the danger is lost by it.
_UNSURE_DANGER, _SURE_ORDINARY = 0.08, 0.85
# A reader who said it a moment ago is answered as one who is in danger now.
TURNS_BEFORE = 2
PART_CHARACTERS = 240
_MAX_CHARACTERS = 2000
_MAX_PAIRS = 16  # one costs .4 CPU-ms by n-grams
_MAX_VECTORS = 3  # of a long text; one costs about 60 CPU-ms
_LETTER = re.compile(r"[^\W\d_]")
_NOTHING_SAID = np.eye(len(KINDS))[_ORDINARY]
SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")


@dataclass(frozen=True)
class FittedWeights:
    """What the script has fitted.

    Attributes:
        coefficients: int8 of shape (slots, kinds); times `scale` they are the n-grams' model.
        scale, intercepts: float64 of shape (kinds,).
        hidden: float32 of shape (385, units): the layers over a vector; the last row is added.
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
        geometric mean of both."""
        found = self.by_ngrams(text)
        if found[_DANGER] < _UNSURE_DANGER and found[_ORDINARY] >= _SURE_ORDINARY:
            return found
        mean = np.sqrt(found * self.by_vector(vector_of(text)))
        return mean / mean.sum()


def kind_of(message: str, before: Sequence[str] = ()) -> MessageKind:
    """The kind of a reader's message; 1 to 40 CPU-ms, of a long one up to 200.

    Danger is looked for in the message, in its parts and in the reader's last messages before it;
    every other kind in the message as a whole, so a greeting above a question is ordinary.

    Args:
        before: the reader's earlier messages, oldest first.
    """
    text = message.strip()
    found = _probabilities(text)
    earlier = (one.strip() for one in before[-TURNS_BEFORE:])
    if _is_danger(text, found) or any(_is_danger(one, _probabilities(one)) for one in earlier):
        return "danger"
    others = found[_OTHERS:]
    likeliest = int(others.argmax())
    is_other = others[likeliest] >= OTHERS_FROM * (others[likeliest] + found[_ORDINARY])
    return KINDS[_OTHERS + likeliest] if is_other else "ordinary"


def _probabilities(text: str) -> np.ndarray:
    """Of a message as a whole; of a long one by its n-grams alone."""
    if not _LETTER.search(text):
        return _NOTHING_SAID
    weights = fitted_weights()
    if len(text) <= PART_CHARACTERS:
        return weights.probabilities(text)
    return weights.by_ngrams(text[:_MAX_CHARACTERS])


def _is_danger(text: str, whole: np.ndarray) -> bool:
    """Whether a message speaks of danger: it and its likeliest part together, or a part of a long
    one."""
    is_long, found = len(text) > PART_CHARACTERS, float(whole[_DANGER])
    if not is_long and _OF_WHOLE * found + 1.0 - _OF_WHOLE < DANGER_FROM:
        return False  # whatever its parts say
    weights = fitted_weights()
    likeliest = sorted(parts(text), key=lambda part: -weights.by_ngrams(part)[_DANGER])
    of_parts = [float(weights.probabilities(one)[_DANGER]) for one in likeliest[:_MAX_VECTORS]]
    if is_long:
        return max(of_parts) >= LONG_DANGER_FROM
    most = max(found, *of_parts, 0.0)
    return _OF_WHOLE * found + (1.0 - _OF_WHOLE) * most >= DANGER_FROM


def _softmax(scores: np.ndarray) -> np.ndarray:
    grown = np.exp(scores - scores.max())
    return grown / grown.sum()


def parts(text: str) -> list[str]:
    """What of a message is looked at beside its whole: its sentences and their pairs; of a long one
    its ends and the pairs.

    A hint beside questions about something else is lost in their n-grams. Of a very long text the
    first pairs and the last count: the hint stands at either end.
    """
    sentences = [
        part[:PART_CHARACTERS] for part in SENTENCE_END.split(text) if _LETTER.search(part)
    ]
    pairs = [f"{first} {second}" for first, second in pairwise(sentences)]
    if len(text) <= PART_CHARACTERS:
        return [one for one in (*sentences, *pairs) if one != text]
    half = _MAX_PAIRS // 2
    ends = pairs if len(pairs) <= _MAX_PAIRS else [*pairs[:half], *pairs[-half:]]
    return [text[:PART_CHARACTERS], text[-PART_CHARACTERS:], *ends]


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
