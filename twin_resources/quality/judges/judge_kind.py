"""Define `JudgeKind`, the declaration of a judge in its own module.

Scope: the declaration of a judge, and its inputs. Out of scope: listing and assembling the judges
(`panel.py`). How to add a judge: deploy/docs/contributing.md.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from twin_resources.errors import TwinError
from twin_resources.quality.judges.judge import Embed, Judge
from twin_resources.quality.judges.negative_probes import AuthorAnswer, ProbeKind
from twin_resources.quality.judges.terms import FREE_TERMS, JudgeTerms
from twin_resources.quality.judges.texts import OtherTexts

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

JudgeT = TypeVar("JudgeT", bound=Judge)
JudgeRole = Literal["decides alone", "decides with others", "vetoes"]
"""The role of a certified judge. Judges that decide with others decide together or not at all."""


class JudgeUnavailableError(TwinError):
    """The author has too little text for a judge, or the judge's model must not be called."""


@dataclass(frozen=True)
class TopicPair:
    """A question from the author's training data with its passage and the passage's document."""

    question: str
    answer: str
    document_id: str


@dataclass(frozen=True)
class JudgeMaterial:
    """The texts from which an author's judges are calibrated and tested.

    Attributes:
        pairs: the pairs of the training split, in sampled order.
        prompts: the held-out prompts with the author's own answers, in sampled order.
        other_texts: texts by other people.
        base_answers: the untuned base model's answers to training questions. If empty, the voice
            judge is trained only against people and detects the base model less reliably.
        base_revision: the revision of that base model.
    """

    author: str
    pairs: Sequence[TopicPair] = field(repr=False)
    prompts: Sequence[AuthorAnswer] = field(repr=False)
    other_texts: OtherTexts = field(repr=False)
    base_answers: Sequence[str] = field(default=(), repr=False)
    base_revision: str = ""


@dataclass(frozen=True)
class JudgeDependencies:
    """What a judge needs besides the author's texts.

    Attributes:
        tables: the tables that store the calibration.
        embedder_revision: the revision of the model behind `embed`.
        model: the LiteLLM name of the configured judge model; empty if there is none.
        terms: the terms of that model.
    """

    tables: Tables
    embed: Embed
    embedder_revision: str
    model: str = ""
    terms: JudgeTerms = FREE_TERMS


@dataclass(frozen=True)
class JudgeKind(Generic[JudgeT]):
    """The declaration of one judge of the panel.

    Attributes:
        claim: the claim that the judge decides once certified; also its name in tables and reports.
        probe_kinds: the kinds of probes that the judge must score below the author's own answers.
        role: the judge's role once certified.
        create: returns an author's judge, with a stored calibration if there is one, or None if
            the judge is not configured; raises `JudgeUnavailableError`.
    """

    claim: str
    probe_kinds: tuple[ProbeKind, ...]
    role: JudgeRole
    create: Callable[[JudgeMaterial, JudgeDependencies], JudgeT | None]
