"""Planted bad answers: what a judge must score below the author's own.

Scope: making them for an author's held-out prompts, mixing them into a batch.
Out of scope: the certificate (`statistics/judges.py`), scoring.

Each kind spoils one thing and leaves the others as they are: `shuffled` is the author's answer to
another held-out question (a mis-joined column), `off_topic` a passage of the author's about
something else, `another_author` somebody else's text, `unsupported` the author's own answer with
its names, numbers and rare words taken from another document. Everything follows from the texts, so
two runs plant the same.
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
SWAPPED_SHARE = 0.3  # of an answer's telling words, the rarest first
_WORD = re.compile(r"[^\W\d_]{4,}|\d+(?:[.,]\d+)*")


@dataclass(frozen=True)
class AuthorAnswer:
    """A held-out prompt with the author's own answer.

    Attributes:
        passages: what is shown as its context. It holds the answer's own chunk, as in production,
            where retrieval finds it: without it the own answer would be unsupported too.
    """

    sample_id: str
    document_id: str
    question: str
    answer: str
    passages: tuple[str, ...] = ()


@dataclass(frozen=True)
class NegativeProbe:
    """A bad answer to `own`'s question, under the same passages."""

    kind: Kind
    own: AuthorAnswer
    answer: str

    def pair(self) -> tuple[JudgedAnswer, JudgedAnswer]:
        """The own answer and the plant, as a judge is shown them."""
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
    """A plant of each kind for each prompt, as far as there is material.

    Args:
        training: (document id, passage) of the author's training split, for `off_topic`.
        others: other authors' passages, for `another_author`; none: no such plants.

    Raises:
        TwinError: the prompts are of fewer than two documents, so nothing can be swapped.
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
    """`answer` with its rarest telling words and all its numbers replaced by those of `source`."""
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
    """So many plants for one batch of judged answers, another draw for each `batch`.

    Args:
        planted: (sample id, kind) of those of former batches, which are not drawn again: a judge's
            second word on a plant says nothing new. With all of them used up there are fewer.
    """
    waiting = [one for one in plants if (one.own.sample_id, one.kind) not in planted]
    return sorted(waiting, key=lambda one: digest(batch, one.kind, one.own.sample_id))[:count]


def _elsewhere(order: Sequence[AuthorAnswer], index: int) -> AuthorAnswer:
    """The next prompt of another document: so no answer stays, and none is drawn twice often."""
    own, count = order[index], len(order)
    following = (order[(index + step) % count] for step in range(1, count))
    return next(other for other in following if other.document_id != own.document_id)


def _drawn(texts: Sequence[str], own: AuthorAnswer, purpose: str) -> str:
    return texts[int(digest(purpose, own.sample_id), 16) % len(texts)]


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]
