"""Define what a measure of the gate is: the claims that it decides, from what the models did.

How to add a measure: deploy/docs/contributing.md, "A measure of the gate".
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from twin_assets.evaluation.likelihood.sample_likelihoods import LikelihoodsByModel
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import CandidateAnswers, PromptAnswers, PromptSet
from twin_resources.authors.answer_forms import AnswerForm
from twin_resources.registry.moves import GateClaim

if TYPE_CHECKING:
    import polars as pl

    from twin_assets.evaluation.evaluation_spec import EvaluationSpec, JudgingContext
    from twin_assets.evaluation.served.parity import Parity
    from twin_assets.evaluation.served.served_judges import Judges

MIN_PASSAGES = 30  # held-out passages; with fewer, no question is asked


@dataclass(frozen=True)
class ClaimRule:
    """What is known about a claim before it is decided.

    Attributes:
        name: name of the claim and of its asset check.
        description: description of the check, in one sentence.
        is_in_first_verdict: whether the claim is decided before a first model answers
            (`sequential_plan.FIRST_VERDICT`).
        is_on_request: whether the claim is measured only when somebody asks for it
            (`claims_on_request`). It is then reported and prevents no release: no version has ever
            been refused by it alone.
        blocks: `voice` to block prose; empty to block the release.
    """

    name: str
    description: str
    is_in_first_verdict: bool = False
    is_on_request: bool = False
    blocks: AnswerForm | Literal[""] = ""


def request_nothing(_context: MeasureContext) -> None:
    """Request nothing, because the measure needs no scores of the base's answers."""


@dataclass(frozen=True)
class Measure:
    """One measure of the gate.

    Attributes:
        claims: the claims that it decides.
        decide: function that returns these claims in order, or the reason why none is decided.
        request_base_scores: function that requests the scores of the base's answers that `decide`
            needs (`BaseScores.request`).
        needs_no_answers: whether the claims can be decided before any question is asked.
    """

    claims: tuple[ClaimRule, ...]
    decide: Callable[[MeasureContext], tuple[GateClaim, ...] | str]
    request_base_scores: Callable[[MeasureContext], None] = request_nothing
    needs_no_answers: bool = False

    @property
    def is_on_request(self) -> bool:
        """Whether none of its claims can refuse a version."""
        return all(rule.is_on_request for rule in self.claims)

    def decide_claims(self, context: MeasureContext) -> list[GateClaim]:
        """Return every claim of the measure, undecided ones with the reason."""
        claims = self.decide(context)
        if not isinstance(claims, str):
            return list(claims)
        detail = f"not decided: {claims}"
        return [
            GateClaim(rule.name, None, None, None, detail, blocks=rule.blocks)
            for rule in self.claims
        ]


@dataclass
class MeasureContext:
    """One run of the gate: its inputs, and what the models have read and answered so far.

    Attributes:
        spec: the compared models and their data.
        judging_context: judges, and texts of the author and of others.
        training: samples that candidates are trained on, ordered by hash.
        prompts: prompts of all measures, with only the held-out questions that were asked so far.
        scores: scores of the base's answers.
        is_first_verdict: whether the base is asked only if its answers can change a claim.
        likelihoods: likelihoods of all models.
        answers: answers to the prompts.
        parity_answers, parity: answers of the candidate to the parity set, and their comparison
            with the trained model; None if every answer was empty or nothing was asked.
    """

    spec: EvaluationSpec
    judging_context: JudgingContext
    training: pl.DataFrame = field(repr=False)
    prompts: PromptSet
    scores: BaseScores
    is_first_verdict: bool = False
    likelihoods: LikelihoodsByModel = field(default_factory=LikelihoodsByModel)
    answers: PromptAnswers = field(default_factory=PromptAnswers)
    parity_answers: CandidateAnswers = field(default_factory=CandidateAnswers)
    parity: Parity | None = None

    @property
    def judges(self) -> Judges:
        return self.judging_context.judges

    @property
    def has_too_few_passages(self) -> bool:
        """Whether there are too few held-out passages to ask any question."""
        return not len(self.prompts.held_out)

    @property
    def few_passages_reason(self) -> str:
        count = self.likelihoods.samples.held_out_count
        return (
            f"{count} held-out passages, but {MIN_PASSAGES} are needed; import more posts, or "
            "release a version manually"
        )

    @cached_property
    def training_texts(self) -> tuple[str, ...]:
        return tuple(self.training["answer"].to_list())

    @cached_property
    def own_texts(self) -> list[tuple[str, str]]:
        """(document id, text) of the author's prose, from all splits."""
        return self.spec.dataset.select("document_id", "answer").rows()

    def candidate_texts(self, positions: range | list[int]) -> list[str]:
        """Return the candidate's answers to the prompts at these positions."""
        return [self.answers.candidate[position].text for position in positions]
