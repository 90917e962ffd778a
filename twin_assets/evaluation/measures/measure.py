"""Define what a measure of the gate is: a value, a way to compute it, and the claims about it.

Scope: the types of a measure, of its claims and inputs, and of all measured values.
Out of scope: individual measures (one file each in this folder) and the verdict (`gate.py`).

How to add a measure: deploy/docs/contributing.md, "A measure of the gate".
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
    from twin_assets.evaluation.served.base_scores import BaseScores
    from twin_assets.evaluation.served.parity import Parity
    from twin_assets.evaluation.served.served_answers import (
        CandidateAnswers,
        PromptAnswers,
        PromptSet,
    )
    from twin_assets.evaluation.served.served_judges import Judges

T = TypeVar("T")


@dataclass(frozen=True)
class DocumentText:
    """A text and its document."""

    document: str
    text: str = field(repr=False)


@dataclass(frozen=True)
class NotMeasured:
    """The result of a measure that could not be taken, with the reason for gate and report."""

    reason: str


@dataclass(frozen=True)
class ClaimRule(Generic[T]):
    """One claim of a measure.

    Attributes:
        name: name of the claim and of its asset check.
        description: description of the check, in one sentence.
        decide: function that returns the claim, with its threshold, for the measured value.
        decide_missing: function that may still decide the claim if the measure was not taken.
            Without it, or if it returns None, the claim is undecided, with the reason of the
            measure.
        is_in_first_verdict: whether the claim is decided before a first model answers
            (`sequential_plan.FIRST_VERDICT`).
        is_on_request: whether the claim is measured only when somebody asks for it
            (`claims_on_request`). It is then reported and prevents no release: no version has ever
            been refused by it alone.
        blocks: `voice` to block prose; empty to block the release.
    """

    name: str
    description: str
    decide: Callable[[T], GateClaim]
    decide_missing: Callable[[Measurements], GateClaim | None] | None = None
    is_in_first_verdict: bool = False
    is_on_request: bool = False
    blocks: AnswerForm | Literal[""] = ""


def request_nothing(_scores: BaseScores, _prompts: PromptSet, _judges: Judges) -> None:
    """Request nothing, because the measure needs no scores of the base's answers."""


@dataclass(frozen=True)
class Measure(Generic[T]):
    """One measure of the gate.

    Attributes:
        name: name under which the value is stored, as a field of the record's `measured`.
        value_type: type of the measured value, a frozen dataclass of numbers and ids without text
            of posts.
        compute: function that computes the value from the shared context, or returns None if there
            are too few passages.
        claims: claims that the value decides; empty if it is only reported.
        request_base_scores: function that requests scores of the base's answers
            (`BaseScores.request`).
        is_flat: whether the record stores the fields of its value directly, without its name.
        needs_no_answers: whether the value can be computed before any question is asked.
    """

    name: str
    value_type: type[T]
    compute: Callable[[MeasureContext], T | NotMeasured | None]
    claims: tuple[ClaimRule[T], ...] = ()
    request_base_scores: Callable[[BaseScores, PromptSet, Judges], None] = request_nothing
    is_flat: bool = False
    needs_no_answers: bool = False


@dataclass(frozen=True)
class Measurements:
    """Measured values from which the gate decides its claims.

    Attributes:
        values: value of every measure that was taken, by its name.
        has_claims_on_request: whether somebody asked for the claims on request.
        others: number of other authors with texts.
        why_not: reason why a measure was not taken, by the name of each of its claims.
    """

    values: Mapping[str, Any]
    has_claims_on_request: bool = False
    others: int = 0
    why_not: Mapping[str, str] = field(default_factory=dict[str, str])

    def get(self, measure: Measure[T]) -> T | None:
        """Return a measure's value, or None if it was not taken."""
        return self.values.get(measure.name)


@dataclass(frozen=True)
class MeasureContext:
    """Shared input of the measures, after the models have read the passages and answered.

    Attributes:
        spec: the compared models and their data.
        judging_context: judges and other people's texts.
        likelihoods: likelihoods of all models.
        prompts, answers, scores: prompts, their answers, and scores of the base's answers.
        parity_answers, parity: answers of the candidate to the parity set, and their result.
        training: samples that candidates are trained on, ordered by hash.
    """

    spec: EvaluationSpec
    judging_context: JudgingContext
    likelihoods: LikelihoodsByModel
    prompts: PromptSet
    answers: PromptAnswers
    scores: BaseScores
    parity_answers: CandidateAnswers
    parity: Parity | None
    training: pl.DataFrame = field(repr=False)

    @property
    def has_too_few_passages(self) -> bool:
        """Whether there are too few held-out passages to ask any question."""
        return not len(self.prompts.held_out)

    @cached_property
    def training_texts(self) -> list[str]:
        return self.training["answer"].to_list()

    @cached_property
    def own_texts(self) -> list[DocumentText]:
        """The author's prose, from all splits."""
        rows = self.spec.dataset.select("document_id", "answer").iter_rows()
        return [DocumentText(*row) for row in rows]
