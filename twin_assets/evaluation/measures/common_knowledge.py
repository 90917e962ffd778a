"""Whether a tuned model still knows what its base knew: 100 questions with two options each.

Scope: reading the questions, what a model holds each option for, comparing two models, the
claim. Out of scope: likelihoods (`perplexity.py`, `likelihoods.py`), the loss on general
answers (`general_instructions.py`). That loss improves for nearly every tuned model: human prose
makes human answers likelier, the wrong ones as well.

No option is shown. Each is read as the answer to its question, in the base model's own chat markup
without the twin's template, and scored by its mean log-probability a token, so that its length
matters little. What a model holds an option for is the softmax of both scores, which moves long
before a choice turns: of 100 choices that are right or wrong, seven that change leave an interval
of ±.05 already. Scoring options by their likelihood: Brown et al. 2020,
https://arxiv.org/abs/2005.14165, section 2.4.

The wrong option is the one in the middle of three that SmolLM2-135M was asked about: it chooses 88
of 100 right beside it, 69 beside the likeliest of the three, and with all four the reading took
twice as long.
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

from twin_assets.evaluation.measures.measure import (
    ClaimRule,
    Measure,
    MeasureContext,
    NotTaken,
)
from twin_assets.evaluation.statistics.bootstrap import Interval, mean, paired_difference
from twin_assets.evaluation.statistics.rates import Rate, rate
from twin_resources.errors import TwinError
from twin_resources.registry.moves import GateClaim

if TYPE_CHECKING:
    from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood

CLAIM = "keeps_common_knowledge"
# A third of the way from SmolLM2-135M (.794) to guessing. A good adapter of 12,000 tokens is at
# -.025 (-.045 to -.007), weights with half as much noise as there is weight at -.29.
BELOW_BASE_BY = 0.1
OPTIONS = 2
FEWEST = 60
QUESTIONS = Path(__file__).with_name("common_choices.json")


@dataclass(frozen=True)
class CommonChoice:
    """One question.

    Attributes:
        id: `k001` …
        kind: `animals`, `numbers` …
        right, wrong: the options, alike in length.
    """

    id: str
    kind: str
    question: str
    right: str
    wrong: str

    @property
    def options(self) -> tuple[str, str]:
        """The right one first."""
        return self.right, self.wrong


@dataclass(frozen=True)
class CommonKnowledge:
    """What two models hold the right options for.

    Attributes:
        candidate, base: how many right options are the likelier.
        held, base_held: mean probability of the right option.
        difference: held − base_held; the interval draws questions.
    """

    candidate: Rate
    base: Rate
    held: Interval
    base_held: Interval
    difference: Interval


@cache
def choices() -> tuple[CommonChoice, ...]:
    """All of them, in the order of the file."""
    return tuple(CommonChoice(**one) for one in json.loads(QUESTIONS.read_text("utf-8")))


def rows() -> list[Mapping[str, Any]]:
    """A sample of each option, as `training.samples.tokenize_samples` takes them; the right
    one of a question before the wrong one."""
    return [
        {
            "sample_id": f"{choice.id}/{number}",
            "document_id": choice.id,
            "messages": [
                {"role": "user", "content": choice.question},
                {"role": "assistant", "content": option},
            ],
        }
        for choice in choices()
        for number, option in enumerate(choice.options)
    ]


def compare(
    candidate: AnswerLikelihood, base: AnswerLikelihood, *, sample_ids: Sequence[str]
) -> CommonKnowledge:
    """Compare what two models hold the options for.

    Args:
        sample_ids: of the tokenized samples behind both likelihoods, in their order.

    A question of which a tokenizer has left out an option is left out.

    Raises:
        TwinError: the two were not measured on the same options, or on fewer than `FEWEST`
            questions with all of theirs.
    """
    asked = _complete(sample_ids)
    if candidate.tokens != base.tokens or len(asked) < FEWEST:
        raise TwinError(
            "compare what two models know of what everybody knows",
            found=f"{len(candidate.tokens)} and {len(base.tokens)} options, {len(asked)} questions",
            next_step=f"measure both on the same samples of `rows`, {FEWEST} questions or more",
        )
    mine, theirs = ([_shares(model, at) for at in asked.values()] for model in (candidate, base))
    chosen, chosen_by_base = (
        [max(share) == share[0] for share in shares] for shares in (mine, theirs)
    )
    held, base_held = ([share[0] for share in shares] for shares in (mine, theirs))
    return CommonKnowledge(
        candidate=rate(chosen),
        base=rate(chosen_by_base),
        held=mean(held),
        base_held=mean(base_held),
        difference=paired_difference(held, base_held),
    )


def _complete(sample_ids: Sequence[str]) -> dict[str, list[int]]:
    """Question → where its options stand, the right one first."""
    places = {name: at for at, name in enumerate(sample_ids)}
    named = {
        choice.id: [f"{choice.id}/{number}" for number in range(OPTIONS)] for choice in choices()
    }
    return {
        question: [places[name] for name in names]
        for question, names in named.items()
        if places.keys() >= set(names)
    }


def _shares(model: AnswerLikelihood, at: Sequence[int]) -> list[float]:
    """What is held of each of the options; they sum to 1."""
    scores = [-model.negative_log_likelihoods[one] / model.tokens[one] for one in at]
    held = [math.exp(score - max(scores)) for score in scores]
    return [one / sum(held) for one in held]


def claim(knowledge: CommonKnowledge) -> GateClaim:
    """`keeps_common_knowledge`: the right options are held .1 less likely at most, interval
    included; a base that cannot tell them from the others has nothing to lose."""
    chance = 1.0 / OPTIONS
    detail = (
        f"right options of {knowledge.candidate.of} questions held {knowledge.held.value:.3f} "
        f"likely against {knowledge.base_held.value:.3f} of the base model: "
        f"{knowledge.difference.told(3)}, the interval above -{BELOW_BASE_BY}; chosen "
        f"{knowledge.candidate.found} against {knowledge.base.found}"
    )
    difference = knowledge.difference
    if knowledge.base.low <= chance:
        detail += f"; the base chooses no better than chance ({chance:g}): nothing to keep"
        return GateClaim(CLAIM, True, difference.value, -BELOW_BASE_BY, detail)
    met = difference.low > -BELOW_BASE_BY
    return GateClaim(CLAIM, met, difference.value, -BELOW_BASE_BY, detail)


def _take(context: MeasureContext) -> CommonKnowledge | NotTaken:
    question, read = context.question, context.read
    if not read.reading.choices:
        return NotTaken("no model has read the questions")
    return compare(
        read.part(question.candidate.name, "choices"),
        read.part(question.base.name, "choices"),
        sample_ids=[sample.sample_id for sample in read.reading.choices],
    )


MEASURE = Measure(
    name="common_knowledge",
    value=CommonKnowledge,
    take=_take,
    early=True,
    claims=(
        ClaimRule(
            CLAIM,
            "The right options of 100 common questions are at most .1 less likely than the "
            "base holds them, 95 % interval included.",
            claim,
        ),
    ),
)
