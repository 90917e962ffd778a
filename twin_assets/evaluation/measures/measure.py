"""What a measure of the gate is: one value that says how it is taken, decided and told.

Scope: the value `Measure`, what it is taken from, what was found of all of them.
Out of scope: any one measure (a file each beside this one), the verdict (`gate.py`).

A recipe for a new one: deploy/docs/contributing.md, "A measure of the gate".
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from twin_resources.authors.answer_forms import AnswerForm
from twin_resources.registry.moves import GateClaim

if TYPE_CHECKING:
    import polars as pl

    from twin_assets.evaluation.evaluation_spec import EvaluationSpec, JudgingContext
    from twin_assets.evaluation.likelihood.sample_likelihoods import LikelihoodsByModel
    from twin_assets.evaluation.served.answer_measures import Judges
    from twin_assets.evaluation.served.base_scores import BaseScores
    from twin_assets.evaluation.served.parity import Parity
    from twin_assets.evaluation.served.served_answers import (
        CandidateAnswers,
        PromptAnswers,
        PromptSet,
    )

T = TypeVar("T")


@dataclass(frozen=True)
class DocumentText:
    """A text and the document it is of."""

    document: str
    text: str = field(repr=False)


@dataclass(frozen=True)
class NotTaken:
    """A measure that could not be taken; the gate and the report repeat why."""

    why: str


@dataclass(frozen=True)
class ClaimRule(Generic[T]):
    """One claim of a measure.

    Attributes:
        name: of the claim and of its asset check.
        description: of the check, one sentence.
        decide: the claim from what was measured; its threshold stands beside it.
        without: the claim where the measure was not taken and that leaves nothing open; None, or a
            result of None: it is not decided, for the measure's reason.
        first: decided before a first model answers anybody (`sequential_plan.FIRST`).
        stated_for_small_bases: with a base model of less than `voice_scores.BLOCKS_FROM`
            parameters it is told and refuses nothing.
        blocks: `voice`: prose, in every form of answers; empty: the release as a whole.
    """

    name: str
    description: str
    decide: Callable[[T], GateClaim]
    without: Callable[[Measurements], GateClaim | None] | None = None
    first: bool = False
    stated_for_small_bases: bool = False
    blocks: AnswerForm | Literal[""] = ""


def needs_nothing(_scores: BaseScores, _asked: PromptSet, _judges: Judges) -> None:
    """Of a measure without scores of the base's answers."""


@dataclass(frozen=True)
class Measure(Generic[T]):
    """One measure of the gate.

    Attributes:
        name: by which it is stored, a field of the record's `measured`.
        value: what it finds, a frozen dataclass of numbers and ids, no text of a post.
        take: from what all measures share; None: there were too few held-out passages.
        claims: that it decides; none: it is told and decides nothing.
        announce: says which scores of the base's answers it will ask for (`BaseScores.want`).
        flat: the fields of its value stand in the record themselves, without its name.
        early: taken from likelihoods, parity and template alone, before any question is asked.
    """

    name: str
    value: type[T]
    take: Callable[[MeasureContext], T | NotTaken | None]
    claims: tuple[ClaimRule[T], ...] = ()
    announce: Callable[[BaseScores, PromptSet, Judges], None] = needs_nothing
    flat: bool = False
    early: bool = False


@dataclass(frozen=True)
class Measurements:
    """What the gate decides on.

    Attributes:
        values: of every measure that was taken, by its name.
        base_parameters: of the base model; None: not known, which counts as many.
        others: how many other authors' texts there are.
        why_not: claim, or another name of `Measure.reasons` → why it was not measured.
    """

    values: Mapping[str, Any]
    base_parameters: int | None = None
    others: int = 0
    why_not: Mapping[str, str] = field(default_factory=dict[str, str])

    def of(self, measure: Measure[T]) -> T | None:
        """What it found; None: it was not taken."""
        return self.values.get(measure.name)


@dataclass(frozen=True)
class MeasureContext:
    """What measures are taken from, once models have read and answered.

    Attributes:
        question: what is compared; `known`: judges and other people's texts.
        read: likelihoods of all models.
        asked, said: prompts and answers; `scores`: those of the base's answers.
        first: answers of the candidate to the parity set, `parity` what they showed.
        training: samples that candidates are trained on, in drawn order.
    """

    question: EvaluationSpec
    known: JudgingContext
    read: LikelihoodsByModel
    asked: PromptSet
    said: PromptAnswers
    scores: BaseScores
    first: CandidateAnswers
    parity: Parity | None
    training: pl.DataFrame = field(repr=False)

    @property
    def too_few(self) -> bool:
        """Whether there were too few held-out passages to ask any question."""
        return not len(self.asked.held_out)

    @cached_property
    def training_texts(self) -> list[str]:
        return self.training["answer"].to_list()

    @cached_property
    def own_texts(self) -> list[DocumentText]:
        """The author's prose, of all splits."""
        rows = self.question.dataset.select("document_id", "answer").iter_rows()
        return [DocumentText(*row) for row in rows]
