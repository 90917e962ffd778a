"""Measure with 100 two-option questions whether a tuned model keeps common knowledge.

The loss on general answers (`general_instructions.py`) improves for nearly every tuned model,
because training on human prose makes all human answers likelier, including wrong answers.

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

from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext
from twin_assets.evaluation.statistics.bootstrap import mean_interval, paired_difference
from twin_assets.evaluation.statistics.rates import compute_rate
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


def decide_claim(
    candidate: AnswerLikelihood, base: AnswerLikelihood, *, sample_ids: Sequence[str]
) -> GateClaim | str:
    """Decide `keeps_common_knowledge`, or return the reason why it is undecided.

    The claim passes if the right options lose less than 0.1 of probability over the whole interval,
    or if the base chooses no better than chance. A question is left out if tokenization left out
    one of its options. The interval resamples questions.

    Args:
        sample_ids: ids of the tokenized samples behind both likelihoods, in the same order.
    """
    positions = {sample_id: position for position, sample_id in enumerate(sample_ids)}
    option_ids = [
        [f"{choice.id}/{number}" for number in range(OPTIONS_PER_QUESTION)]
        for choice in read_choices()
    ]
    questions = [
        [positions[option] for option in ids] for ids in option_ids if positions.keys() >= set(ids)
    ]
    if len(questions) < MIN_QUESTIONS:
        return f"fewer than {MIN_QUESTIONS} questions could be tokenized"
    probabilities, base_probabilities = (
        [_option_probabilities(model, options) for options in questions]
        for model in (candidate, base)
    )
    chosen, base_chosen = (
        compute_rate([max(options) == options[0] for options in model])
        for model in (probabilities, base_probabilities)
    )
    right, base_right = (
        [options[0] for options in model] for model in (probabilities, base_probabilities)
    )
    difference = paired_difference(right, base_right)
    detail = (
        f"mean probability of the right option in {len(questions)} questions "
        f"{mean_interval(right).value:.3f}, base model {mean_interval(base_right).value:.3f}: "
        f"{difference.describe(3)}, whose interval must be above -{MAX_DROP_BELOW_BASE}; chosen "
        f"{chosen.found}, by the base {base_chosen.found}"
    )
    is_met, chance = difference.low > -MAX_DROP_BELOW_BASE, 1.0 / OPTIONS_PER_QUESTION
    if base_chosen.low <= chance:
        is_met = True
        detail += (
            f"; the base chooses no better than chance ({chance:g}), so there is nothing to keep"
        )
    return GateClaim(CLAIM, is_met, difference.value, -MAX_DROP_BELOW_BASE, detail)


def _option_probabilities(model: AnswerLikelihood, positions: Sequence[int]) -> list[float]:
    """Return the probability of each option; they sum to 1."""
    scores = [
        -model.negative_log_likelihoods[position] / model.token_counts[position]
        for position in positions
    ]
    weights = [math.exp(score - max(scores)) for score in scores]
    return [weight / sum(weights) for weight in weights]


def decide(context: MeasureContext) -> tuple[GateClaim] | str:
    spec, likelihoods = context.spec, context.likelihoods
    if not likelihoods.samples.choices:
        return "no model was measured on the questions"
    claim = decide_claim(
        likelihoods.get_part(spec.candidate.name, "choices"),
        likelihoods.get_part(spec.base.name, "choices"),
        sample_ids=[sample.sample_id for sample in likelihoods.samples.choices],
    )
    return claim if isinstance(claim, str) else (claim,)


MEASURE = Measure(
    claims=(
        ClaimRule(
            CLAIM,
            "The right options of 100 common questions are at most .1 less likely than for the "
            "base model, over the whole 95 % interval.",
            is_on_request=True,
        ),
    ),
    decide=decide,
    needs_no_answers=True,
)
