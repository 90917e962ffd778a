"""Plants bad answers, which a judge must score below the author's own.

Scope: creating them for an author's held-out prompts, drawing them for a batch.
Out of scope: the certificate (`statistics/judges.py`), scoring.

Each kind has one fault: `shuffled` is the author's answer to another held-out question (a
mis-joined column), `off_topic` is the author's passage on another subject, `another_author` is
another person's text, and `unsupported` is the author's own answer with numbers and rare words
replaced by those of another document. Plants depend only on the texts, so two runs plant the same.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from twin_resources.errors import TwinError
from twin_resources.quality.judges.judge import JudgedAnswer, digest

Kind = Literal["another_author", "off_topic", "shuffled", "unsupported"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SWAPPED_SHARE = 0.3  # of an answer's distinctive words, the rarest first
_WORD = re.compile(r"[^\W\d_]{4,}|\d+(?:[.,]\d+)*")


@dataclass(frozen=True)
class AuthorAnswer:
    """A held-out prompt with the author's own answer.

    Attributes:
        passages: the context shown. It contains the answer's own chunk, which retrieval finds in
            production; without it, the own answer would be unsupported too.
    """

    sample_id: str
    document_id: str
    question: str
    answer: str
    passages: tuple[str, ...] = ()


@dataclass(frozen=True)
class NegativeProbe:
    """A bad answer to `own`'s question, with the same passages."""

    kind: Kind
    own: AuthorAnswer
    answer: str

    def pair(self) -> tuple[JudgedAnswer, JudgedAnswer]:
        """Return the own answer and the plant, as shown to a judge."""
        own = self.own
        return (
            JudgedAnswer(own.question, own.answer, own.passages),
            JudgedAnswer(own.question, self.answer, own.passages),
        )


def plant(
    prompts: Sequence[AuthorAnswer],
    *,
    training: Sequence[tuple[str, str]],
    others: Sequence[str],
    kinds: Sequence[Kind] = KINDS,
) -> list[NegativeProbe]:
    """Create a plant of each kind for each prompt, if there is material for it.

    Args:
        training: (document id, passage) of the author's training split, for `off_topic`.
        others: other authors' passages, for `another_author`; no such plants if empty.

    Raises:
        TwinError: the prompts come from fewer than two documents, so nothing can be swapped.
    """
    if len({own.document_id for own in prompts}) < 2:
        raise TwinError(
            "plant bad answers",
            found=f"{len(prompts)} held-out prompts of fewer than two documents",
            next_step="import more posts",
        )
    order = sorted(prompts, key=lambda own: digest("shuffle", own.sample_id))
    frequency = Counter(word for own in prompts for word in set(_words(own.answer)))
    probes: list[NegativeProbe] = []
    for index, own in enumerate(order):
        other = _elsewhere(order, index)
        made: dict[Kind, str] = {
            "shuffled": other.answer,
            "unsupported": swapped(own.answer, other.answer, frequency),
        }
        about_else = [text for name, text in training if name != own.document_id]
        if about_else:
            made["off_topic"] = _drawn(about_else, own, "off_topic")
        if others:
            made["another_author"] = _drawn(others, own, "another_author")
        probes += [
            NegativeProbe(kind, own, made[kind]) for kind in KINDS if kind in kinds and kind in made
        ]
    return probes


def swapped(answer: str, source: str, frequency: Mapping[str, int]) -> str:
    """Replace the rarest distinctive words and all numbers of `answer` with words of `source`."""
    taken = sorted(
        set(_words(source)) - set(_words(answer)), key=lambda word: (frequency.get(word, 0), word)
    )
    if not taken:
        return source
    rare = sorted(set(_words(answer)), key=lambda word: (frequency.get(word, 0), word))
    out = set(rare[: max(1, round(SWAPPED_SHARE * len(rare)))])
    out |= {word for word in rare if word[0].isdigit()}
    place = {word: taken[index % len(taken)] for index, word in enumerate(sorted(out))}

    def replaced(match: re.Match[str]) -> str:
        word = place.get(match[0].casefold())
        if word is None:
            return match[0]
        return word.capitalize() if match[0][0].isupper() else word

    return _WORD.sub(replaced, answer)


def drawn_for_batch(
    plants: Sequence[NegativeProbe],
    *,
    count: int,
    batch: str,
    planted: Collection[tuple[str, str]] = (),
) -> list[NegativeProbe]:
    """Draw plants for one batch of judged answers, differently for each `batch`.

    Args:
        count: the most plants; fewer are returned if too few are left.
        planted: (sample id, kind) of the plants in earlier batches. They are not drawn again,
            because a second score of a plant adds no information.
    """
    waiting = [one for one in plants if (one.own.sample_id, one.kind) not in planted]
    return sorted(waiting, key=lambda one: digest(batch, one.kind, one.own.sample_id))[:count]


def _elsewhere(order: Sequence[AuthorAnswer], index: int) -> AuthorAnswer:
    """Return the next prompt of another document, so that each answer changes and few repeat."""
    own, count = order[index], len(order)
    following = (order[(index + step) % count] for step in range(1, count))
    return next(other for other in following if other.document_id != own.document_id)


def _drawn(texts: Sequence[str], own: AuthorAnswer, purpose: str) -> str:
    return texts[int(digest(purpose, own.sample_id), 16) % len(texts)]


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]
