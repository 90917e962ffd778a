"""Collects texts of other people, for training a voice score and for foreign plants.

Scope: the bundled sample authors and other authors of the instance, cut into passages.
Out of scope: importing posts (`twin_assets/corpus`), the author's own texts.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from twin_resources.authors import SAMPLES
from twin_resources.quality.judges.judge import digest

MIN_WORDS = 40  # as in the author's own answers (instructions/instruction_tables.py)
MAX_WORDS = 160
SAME_WORDS = 12  # in a row; two texts share them only by copying
SHARED_PASSAGES = 0.2  # of a writer's passages; a writer with a larger share is the author
UNSEEN_DOCUMENTS = 3  # with few other authors, each third document is reserved for plants
MIN_HANDS = 3  # the fewest writers from which one can be reserved
_WORD = re.compile(r"\w+")
_FRONT_MATTER = re.compile(r"\A(---|\+\+\+)\n.*?\n\1\n", re.DOTALL)


@dataclass(frozen=True)
class WriterSample:
    """One writer's passages as (document id, text), in a fixed order."""

    name: str
    passages: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class OtherTexts:
    """Other people's texts, divided so that the training texts contain no plant.

    Attributes:
        training: texts for training the voice score.
        planted: texts for plants.
        unseen: whether the writers of the planted texts are absent from training; otherwise they
            are other documents of the same people, and the certificate is weaker.
    """

    training: tuple[WriterSample, ...]
    planted: tuple[WriterSample, ...]
    unseen: bool


def bundled_hands(*, without: Sequence[str], folder: Path = SAMPLES) -> list[WriterSample]:
    """Return the sample authors that come with the code, by slug; empty if not installed.

    Args:
        without: the slugs to leave out (the author's own).
        folder: the folder of the sample authors.
    """
    writers: list[WriterSample] = []
    for home in sorted(path.parent for path in folder.glob("*/author.toml")):
        if home.name not in without:
            posts = sorted(path for path in home.rglob("*.md") if path.parent != home)
            texts = ((path.stem, path.read_text(encoding="utf-8")) for path in posts)
            passages = [
                (name, passage) for name, text in texts for passage in passages_of(_body(text))
            ]
            writers.append(WriterSample(home.name, tuple(passages)))
    return writers


def passages_of(text: str) -> list[str]:
    """Join consecutive paragraphs into passages of `MIN_WORDS` to `MAX_WORDS` words."""
    passages: list[str] = []
    waiting: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        waiting.append(" ".join(paragraph.split()))
        joined = "\n\n".join(waiting).strip()
        words = len(joined.split())
        if words >= MIN_WORDS:
            if words <= MAX_WORDS:
                passages.append(joined)
            waiting = []
    return passages


def divided(hands: Sequence[WriterSample]) -> OtherTexts:
    """Divide other people's texts between training and plants.

    With three or more people, training leaves out one, drawn by a hash of the name; with fewer, it
    leaves out each third document. With two, both are needed: trained against an engineer alone, a
    story-teller's voice score accepted .97 of another story-teller's passages.
    """
    known = sorted((hand for hand in hands if hand.passages), key=lambda hand: digest(hand.name))
    if len(known) >= MIN_HANDS:
        return OtherTexts(tuple(known[:-1]), tuple(known[-1:]), unseen=True)
    documents = {hand.name: _kept_documents(hand) for hand in known}
    return OtherTexts(
        training=tuple(_part(hand, documents[hand.name], inside=False) for hand in known),
        planted=tuple(_part(hand, documents[hand.name], inside=True) for hand in known),
        unseen=False,
    )


def of_others(hands: Sequence[WriterSample], own: Iterable[str]) -> list[WriterSample]:
    """Return the writers whose texts are not the author's own under another name.

    A person who tries the samples imports them as an author, and a voice cannot be learnt against
    itself. One or two shared quotations do not exclude a writer.
    """
    known = {run for text in own for run in _runs(text)}
    return [
        hand
        for hand in hands
        if sum(not known.isdisjoint(_runs(text)) for _, text in hand.passages)
        <= SHARED_PASSAGES * len(hand.passages)
    ]


def merged(hands: Sequence[WriterSample]) -> list[WriterSample]:
    """Merge the samples of each name, which may be divided between training and plants."""
    by_name: dict[str, tuple[tuple[str, str], ...]] = {}
    for hand in hands:
        by_name[hand.name] = (*by_name.get(hand.name, ()), *hand.passages)
    return [WriterSample(name, passages) for name, passages in by_name.items()]


def hands_of(passages: Mapping[str, Sequence[tuple[str, str]]]) -> list[WriterSample]:
    """Return the other authors of the instance, sorted by slug.

    Args:
        passages: slug → (document id, passage).
    """
    return [WriterSample(name, tuple(passages[name])) for name in sorted(passages)]


def _kept_documents(hand: WriterSample) -> frozenset[str]:
    documents = sorted({name for name, _ in hand.passages}, key=digest)
    return frozenset(documents[::UNSEEN_DOCUMENTS])


def _part(hand: WriterSample, documents: frozenset[str], *, inside: bool) -> WriterSample:
    return WriterSample(
        hand.name,
        tuple(passage for passage in hand.passages if (passage[0] in documents) is inside),
    )


def _runs(text: str) -> set[tuple[str, ...]]:
    words = _WORD.findall(text.casefold())
    return {tuple(words[at : at + SAME_WORDS]) for at in range(len(words) - SAME_WORDS + 1)}


def _body(text: str) -> str:
    return _FRONT_MATTER.sub("", text, count=1)
