"""Classify a reader's message with the geometric mean of two small classifiers.

Scope: the shipped weights, the thresholds, and the messages of a conversation that count.
Out of scope: n-grams (`features.py`), vectors (`message_vectors.py`), answers
(`answers.py`), fitting and the examples (`deploy/checkout/front_desk_weights.py`).

A logistic regression over hashed n-grams recognizes wordings, and a layer over a sentence's vector
recognizes meaning; each finds messages that the other misses. The geometric mean is low where
either classifier is low. It was compared in five folds of the examples, grouped by meaning. With
2 % of the ordinary messages classified as danger, it misses 29 % of the danger messages; the
arithmetic mean misses 32 %. A recognized kind is not a diagnosis.
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
from twin_resources.gateway.front_desk.features import ngram_features
from twin_resources.gateway.front_desk.message_vectors import embed_message

MessageKind = Literal["ordinary"] | DeskKind
"""Kind of a message: `ordinary`, or a kind that the front desk answers."""
KINDS: tuple[MessageKind, ...] = ("ordinary", *get_args(DeskKind))
WEIGHTS_FILE = Path(__file__).with_name("weights.npz")
_ORDINARY, _DANGER, _IDENTITY = map(KINDS.index, ("ordinary", "danger", "identity"))
_FIRST_OTHER = 2  # index of the first kind that is neither ordinary nor danger
# Chosen on the tuning set of tests/bench/front_desk, which was not used for fitting. There, 97 % of
# the danger messages are recognized, and 1 % of the ordinary messages get a different kind.
DANGER_THRESHOLD = 0.58
OTHER_THRESHOLD = 0.2  # probability of the kind, divided by its sum with ordinary
# Below this share, a passage that answers goes before the program's text. Of 159 questions to six
# authors none had a higher share of a wrong kind than .39; of 48 English messages of these kinds
# 39 are above it.
CERTAIN_THRESHOLD = 0.7
# At or above this share, the text on identity stands above the posts, because questions about AI or
# the author as a person resemble questions about who answers.
POSSIBLE_IDENTITY_THRESHOLD = 0.05
_WHOLE_WEIGHT = 0.4  # weight of the whole message; its most likely part has the other 0.6
# For a long text, only the most likely part counts. Its many parts require a higher threshold.
LONG_DANGER_THRESHOLD = 0.7
# If the n-grams score danger below the first value and ordinary above the second, their decision
# stands and no vector is computed. This misses at most 2 % of the danger messages.
_UNSURE_DANGER, _SURE_ORDINARY = 0.08, 0.85
# A reader who mentioned danger in one of these turns is answered as if in danger now.
EARLIER_TURN_COUNT = 2
PART_CHARACTERS = 240
_MAX_CHARACTERS = 2000
_MAX_PAIRS = 16  # the n-grams of one pair cost 0.4 ms of CPU time
_MAX_VECTORS = 3  # limit for a long text; one vector costs about 60 ms of CPU time
_LETTER = re.compile(r"[^\W\d_]")
_CERTAINLY_ORDINARY = np.eye(len(KINDS))[_ORDINARY]
SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")


@dataclass(frozen=True)
class ClassifiedMessage:
    """The kind of a message.

    Attributes:
        is_certain: whether the kind stands even if a passage would answer the message.
        may_ask_identity: whether the message may ask who answers, whatever its kind is.
    """

    kind: MessageKind = "ordinary"
    is_certain: bool = False
    may_ask_identity: bool = False


ORDINARY = ClassifiedMessage()


@dataclass(frozen=True)
class FittedWeights:
    """The fitted weights of both classifiers.

    Attributes:
        coefficients: int8 of shape (buckets, kinds); the n-gram model when multiplied by `scale`.
        scale, intercepts: float64 of shape (kinds,).
        hidden: float32 of shape (385, units), the layer over a vector; the last row is the bias.
        output: float32 of shape (units + 1, kinds); the last row is the bias.
        examples_digest: SHA-256 of the examples on which the weights were fitted.
    """

    coefficients: np.ndarray
    scale: np.ndarray
    intercepts: np.ndarray
    hidden: np.ndarray
    output: np.ndarray
    examples_digest: str

    def ngram_probabilities(self, text: str) -> np.ndarray:
        """Return probabilities by n-grams, float64 of shape (kinds,), in the order of `KINDS`."""
        buckets, values = ngram_features(text)
        return _softmax(
            (values @ self.coefficients[buckets].astype(float)) * self.scale + self.intercepts
        )

    def vector_probabilities(self, vector: np.ndarray) -> np.ndarray:
        """Return probabilities like `ngram_probabilities`, from a vector of shape (384,)."""
        units = np.maximum(vector @ self.hidden[:-1] + self.hidden[-1], 0.0)
        return _softmax((units @ self.output[:-1] + self.output[-1]).astype(float))

    def mean_probabilities(
        self, text: str, kind_indexes: Sequence[int], *, unsure_range: tuple[float, float]
    ) -> np.ndarray:
        """Return the means of both classifiers' probabilities of these kinds, in their order.

        If the n-grams' highest probability of them is outside `unsure_range`, the n-grams alone
        decide, and no vector (25 ms of CPU time) is computed.
        """
        kinds = list(kind_indexes)
        ngram_probabilities = self.ngram_probabilities(text)[kinds]
        if not unsure_range[0] <= ngram_probabilities.max() < unsure_range[1]:
            return ngram_probabilities
        vector_probabilities = self.vector_probabilities(embed_message(text))[kinds]
        return (ngram_probabilities + vector_probabilities) / 2

    def probabilities(self, text: str) -> np.ndarray:
        """Return the geometric mean of both classifiers, in the shape of `ngram_probabilities`.

        If the n-grams are certain that the text is ordinary, they alone decide.
        """
        ngram_probabilities = self.ngram_probabilities(text)
        is_certain = ngram_probabilities[_ORDINARY] >= _SURE_ORDINARY
        if is_certain and ngram_probabilities[_DANGER] < _UNSURE_DANGER:
            return ngram_probabilities
        vector_probabilities = self.vector_probabilities(embed_message(text))
        geometric_mean = np.sqrt(ngram_probabilities * vector_probabilities)
        return geometric_mean / geometric_mean.sum()


def classify_message(message: str, earlier_messages: Sequence[str] = ()) -> ClassifiedMessage:
    """Return the kind of a message, in 1 to 40 ms of CPU time, or up to 200 ms for a long one.

    Danger is searched for in the message, in its parts and in the reader's last messages before it.
    The whole message decides every other kind, so a greeting above a question is ordinary.

    Args:
        earlier_messages: the reader's earlier messages, oldest first.
    """
    text = message.strip()
    scores = _probabilities(text)
    turns = (turn.strip() for turn in earlier_messages[-EARLIER_TURN_COUNT:])
    if _is_danger(text, scores) or any(_is_danger(turn, _probabilities(turn)) for turn in turns):
        return ClassifiedMessage("danger", is_certain=True)
    shares = scores / (scores + scores[_ORDINARY])
    best_index = _FIRST_OTHER + int(scores[_FIRST_OTHER:].argmax())
    return ClassifiedMessage(
        KINDS[best_index] if shares[best_index] >= OTHER_THRESHOLD else "ordinary",
        is_certain=bool(shares[best_index] >= CERTAIN_THRESHOLD),
        may_ask_identity=bool(shares[_IDENTITY] >= POSSIBLE_IDENTITY_THRESHOLD),
    )


def _probabilities(text: str) -> np.ndarray:
    """Return the probabilities of a whole message; a long one is scored by n-grams alone."""
    if not _LETTER.search(text):
        return _CERTAINLY_ORDINARY
    weights = read_weights(WEIGHTS_FILE)
    if len(text) <= PART_CHARACTERS:
        return weights.probabilities(text)
    return weights.ngram_probabilities(text[:_MAX_CHARACTERS])


def _is_danger(text: str, whole_probabilities: np.ndarray) -> bool:
    """Return whether a message mentions danger.

    A short message is scored together with its most likely part, a long one by that part alone.
    """
    is_long, danger_score = len(text) > PART_CHARACTERS, float(whole_probabilities[_DANGER])
    if not is_long and _WHOLE_WEIGHT * danger_score + 1.0 - _WHOLE_WEIGHT < DANGER_THRESHOLD:
        return False  # a part with probability 1 could not reach the threshold
    weights = read_weights(WEIGHTS_FILE)
    ranked_parts = sorted(
        split_parts(text), key=lambda part: -weights.ngram_probabilities(part)[_DANGER]
    )
    part_scores = [
        float(weights.probabilities(part)[_DANGER]) for part in ranked_parts[:_MAX_VECTORS]
    ]
    if is_long:
        return max(part_scores) >= LONG_DANGER_THRESHOLD
    best_score = max(danger_score, *part_scores, 0.0)
    return _WHOLE_WEIGHT * danger_score + (1.0 - _WHOLE_WEIGHT) * best_score >= DANGER_THRESHOLD


def _softmax(scores: np.ndarray) -> np.ndarray:
    exponentials = np.exp(scores - scores.max())
    return exponentials / exponentials.sum()


def split_parts(text: str) -> list[str]:
    """Return the parts of a message that are scored in addition to the whole.

    A short message has its sentences and pairs of adjacent sentences as parts, a long one its two
    ends and the pairs. In the n-grams of the whole message, other subjects would hide a hint. Of a
    very long text, only the first and last pairs are used, because a hint is usually at either end.
    """
    sentences = [
        part[:PART_CHARACTERS] for part in SENTENCE_END.split(text) if _LETTER.search(part)
    ]
    pairs = [f"{first} {second}" for first, second in pairwise(sentences)]
    if len(text) <= PART_CHARACTERS:
        return [part for part in (*sentences, *pairs) if part != text]
    half = _MAX_PAIRS // 2
    edge_pairs = pairs if len(pairs) <= _MAX_PAIRS else [*pairs[:half], *pairs[-half:]]
    return [text[:PART_CHARACTERS], text[-PART_CHARACTERS:], *edge_pairs]


@cache
def read_weights(file: Path) -> FittedWeights:
    """Read a weights file that a script in `deploy/checkout` has written, once per process."""
    with np.load(file) as arrays:
        return FittedWeights(
            arrays["coefficients"],
            arrays["scale"],
            arrays["intercepts"],
            arrays["hidden"].astype(np.float32),
            arrays["output"].astype(np.float32),
            str(arrays["examples"]),
        )
