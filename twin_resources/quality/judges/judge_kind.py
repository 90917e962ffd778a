"""What a judge of the panel is declared as: one value beside its measure, in its own file.

Scope: the declaration and what a judge is made of. Out of scope: which judges there
are and putting them together (`panel.py`). How to add one: deploy/docs/contributing.md.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from twin_resources.errors import TwinError
from twin_resources.quality.judges.judge import Embed, Judge
from twin_resources.quality.judges.negative_probes import AuthorAnswer, Kind
from twin_resources.quality.judges.terms import FREE, JudgeTerms
from twin_resources.quality.judges.texts import OtherTexts

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

JudgeT = TypeVar("JudgeT", bound=Judge)
JudgeRole = Literal["decides alone", "decides with others", "vetoes"]
"""What a certified judge may do. Those who decide with others decide together or not at all."""


class JudgeMissing(TwinError):
    """An author cannot have this judge: too little text, or a model that may not be asked."""


@dataclass(frozen=True)
class TopicPair:
    """A question of the author's training data with its passage, and the passage's document."""

    question: str
    answer: str
    document_id: str


@dataclass(frozen=True)
class JudgeMaterial:
    """What an author's judges are made of and tested with.

    Attributes:
        pairs: training split, in drawn order.
        prompts: held-out, in drawn order, with the author's own answers.
        others: other people's texts.
        base_answers: of the untuned base model to training questions; empty: voice is trained
            against people alone, and tells the base apart worse.
        base: revision of that base model.
    """

    author: str
    pairs: Sequence[TopicPair] = field(repr=False)
    prompts: Sequence[AuthorAnswer] = field(repr=False)
    others: OtherTexts = field(repr=False)
    base_answers: Sequence[str] = field(default=(), repr=False)
    base: str = ""


@dataclass(frozen=True)
class JudgeNeeds:
    """What a judge is made with, beside the author's material.

    Attributes:
        tables: they keep its calibration.
        embedder: revision of `embed`'s model.
        model: LiteLLM's name of a model that a person named as judge; empty: none.
        terms: of that model.
    """

    tables: Tables
    embed: Embed
    embedder: str
    model: str = ""
    terms: JudgeTerms = FREE


@dataclass(frozen=True)
class JudgeKind(Generic[JudgeT]):
    """One judge of the panel.

    Attributes:
        claim: what it decides on, once it is certified; its name in tables and reports.
        probes: kinds of planted bad answers that it must score below the author's own.
        role: see `JudgeRole`.
        make: the judge of an author, calibrated once and kept; None: nobody asked for it. Raises
            `JudgeMissing`.
        tables: that keep its calibration; what erases an author's text erases them.
    """

    claim: str
    probes: tuple[Kind, ...]
    role: JudgeRole
    make: Callable[[JudgeMaterial, JudgeNeeds], JudgeT | None]
    tables: tuple[str, ...] = ()
