"""Measure with 100 two-option questions whether a tuned model keeps common knowledge.

Scope: reading the questions, the probability of each option, comparing two models, and the claim.
Out of scope: likelihoods (`perplexity.py`, `likelihoods.py`) and the loss on general answers
(`general_instructions.py`). That loss improves for nearly every tuned model, because training on
human prose makes all human answers likelier, including wrong answers.

The prompt does not show the options. Each option is read as the answer to its question, in the base
model's own chat markup without the twin's template. Its score is the mean log-probability per
token, so length matters little. The probability of an option is the softmax of both scores. This
probability changes long before the choice does. If only choices were counted, seven changes in 100
would already give an interval of ±0.05. Scoring options by likelihood follows Brown et al. 2020,
https://arxiv.org/abs/2005.14165, section 2.4.

Of three wrong options, the one with the middle likelihood under SmolLM2-135M is used. That model
prefers the right option to it 88 times in 100, and to the likeliest of the three 69 times. Reading
all four options took twice as long.
"""
# pyright: strict

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext, NotMeasured
from twin_assets.evaluation.statistics.bootstrap import Interval, mean_interval, paired_difference
from twin_assets.evaluation.statistics.rates import Rate, compute_rate
from twin_resources.registry.moves import GateClaim

if TYPE_CHECKING:
    from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood

CLAIM = "keeps_common_knowledge"
# A third of the distance from SmolLM2-135M (0.794) to guessing. A good adapter trained on 12,000
# tokens measured -0.025 (-0.045 to -0.007). Weights with added noise of half their size measured
# -0.29.
MAX_DROP_BELOW_BASE = 0.1
OPTIONS_PER_QUESTION = 2
MIN_QUESTIONS = 60
QUESTIONS_FILE = Path(__file__).with_name("common_choices.json")


@dataclass(frozen=True)
class CommonChoice:
    """A question with a right and a wrong option.

    Attributes:
        id: for example `k001`.
        kind: for example `animals` or `numbers`.
        right, wrong: the options, of similar length.
    """

    id: str
    kind: str
    question: str
    right: str
    wrong: str

    @property
    def options(self) -> tuple[str, str]:
        """Both options, the right one first."""
        return self.right, self.wrong


@dataclass(frozen=True)
class CommonKnowledge:
    """The probabilities that two models give to the right options.

    Attributes:
        candidate, base: share of questions whose right option is the likelier one.
        held, base_held: mean probability of the right option.
        difference: held − base_held; its interval resamples questions.
    """

    candidate: Rate
    base: Rate
    held: Interval
    base_held: Interval
    difference: Interval


@cache
def read_choices() -> tuple[CommonChoice, ...]:
    """Return all questions, in the order of the file."""
    return tuple(CommonChoice(**row) for row in json.loads(QUESTIONS_FILE.read_text("utf-8")))


def build_rows() -> list[Mapping[str, Any]]:
    """Return a row for each option, for `checkpoints.samples.tokenize_samples`.

    The right option of a question comes before the wrong one.
    """
    return [
        {
            "sample_id": f"{choice.id}/{number}",
            "document_id": choice.id,
            "messages": [
                {"role": "user", "content": choice.question},
                {"role": "assistant", "content": option},
            ],
        }
        for choice in read_choices()
        for number, option in enumerate(choice.options)
    ]


def compare(
    candidate: AnswerLikelihood, base: AnswerLikelihood, *, sample_ids: Sequence[str]
) -> CommonKnowledge | NotMeasured:
    """Compare the probabilities that two models give to the options.

    A question is left out if tokenization left out one of its options. Fewer than `MIN_QUESTIONS`
    questions are not compared.

    Args:
        sample_ids: ids of the tokenized samples behind both likelihoods, in the same order.
    """
    questions = _complete_questions(sample_ids)
    if len(questions) < MIN_QUESTIONS:
        return NotMeasured(f"fewer than {MIN_QUESTIONS} questions could be tokenized")
    candidate_probabilities, base_probabilities = (
        [_option_probabilities(model, positions) for positions in questions]
        for model in (candidate, base)
    )
    candidate_choices, base_choices = (
        [max(shares) == shares[0] for shares in probabilities]
        for probabilities in (candidate_probabilities, base_probabilities)
    )
    right_probabilities, base_right_probabilities = (
        [shares[0] for shares in probabilities]
        for probabilities in (candidate_probabilities, base_probabilities)
    )
    return CommonKnowledge(
        candidate=compute_rate(candidate_choices),
        base=compute_rate(base_choices),
        held=mean_interval(right_probabilities),
        base_held=mean_interval(base_right_probabilities),
        difference=paired_difference(right_probabilities, base_right_probabilities),
    )


def _complete_questions(sample_ids: Sequence[str]) -> list[list[int]]:
    """Return the option positions of each question with all options, the right option first."""
    position_by_id = {sample_id: position for position, sample_id in enumerate(sample_ids)}
    option_ids = [
        [f"{choice.id}/{number}" for number in range(OPTIONS_PER_QUESTION)]
        for choice in read_choices()
    ]
    return [
        [position_by_id[option_id] for option_id in ids]
        for ids in option_ids
        if position_by_id.keys() >= set(ids)
    ]


def _option_probabilities(model: AnswerLikelihood, positions: Sequence[int]) -> list[float]:
    """Return the probability of each option; they sum to 1."""
    scores = [
        -model.negative_log_likelihoods[position] / model.token_counts[position]
        for position in positions
    ]
    weights = [math.exp(score - max(scores)) for score in scores]
    return [weight / sum(weights) for weight in weights]


def decide_claim(knowledge: CommonKnowledge) -> GateClaim:
    """Decide `keeps_common_knowledge`.

    The claim passes if the right options lose less than 0.1 of probability over the whole interval,
    or if the base chooses no better than chance.
    """
    chance = 1.0 / OPTIONS_PER_QUESTION
    detail = (
        f"mean probability of the right option in {knowledge.candidate.of} questions "
        f"{knowledge.held.value:.3f}, base model {knowledge.base_held.value:.3f}: "
        f"{knowledge.difference.describe(3)}, whose interval must be above "
        f"-{MAX_DROP_BELOW_BASE}; chosen {knowledge.candidate.found}, by the base "
        f"{knowledge.base.found}"
    )
    difference = knowledge.difference
    if knowledge.base.low <= chance:
        detail += (
            f"; the base chooses no better than chance ({chance:g}), so there is nothing to keep"
        )
        return GateClaim(CLAIM, True, difference.value, -MAX_DROP_BELOW_BASE, detail)
    is_met = difference.low > -MAX_DROP_BELOW_BASE
    return GateClaim(CLAIM, is_met, difference.value, -MAX_DROP_BELOW_BASE, detail)


def _compute(context: MeasureContext) -> CommonKnowledge | NotMeasured:
    spec, likelihoods = context.spec, context.likelihoods
    if not likelihoods.samples.choices:
        return NotMeasured("no model was measured on the questions")
    return compare(
        likelihoods.get_part(spec.candidate.name, "choices"),
        likelihoods.get_part(spec.base.name, "choices"),
        sample_ids=[sample.sample_id for sample in likelihoods.samples.choices],
    )


MEASURE = Measure(
    name="common_knowledge",
    value_type=CommonKnowledge,
    compute=_compute,
    needs_no_answers=True,
    claims=(
        ClaimRule(
            CLAIM,
            "The right options of 100 common questions are at most .1 less likely than for the "
            "base model, over the whole 95 % interval.",
            decide_claim,
            is_on_request=True,
        ),
    ),
)
