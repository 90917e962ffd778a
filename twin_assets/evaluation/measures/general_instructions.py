"""Check that a tuned model still follows general instructions as well as its base does.

The loss is measured on the answers in `general_instructions.json`, in nats per token. The prompts
use the base model's own chat markup without the twin's template, as before tuning. Only the ratio
of the two losses counts, so the wording of the answers hardly matters. Luo et al. 2023,
https://arxiv.org/abs/2308.08747, measure forgetting by the loss on general data after tuning.
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext
from twin_assets.evaluation.statistics.bootstrap import format_change, interval_of_means
from twin_resources.registry.moves import GateClaim

if TYPE_CHECKING:
    from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood

CLAIM = "keeps_the_basics"
MAX_LOSS_RATIO = 1.05
MIN_INSTRUCTIONS = 30
INSTRUCTIONS_FILE = Path(__file__).with_name("general_instructions.json")


def build_rows() -> list[Mapping[str, Any]]:
    """Return rows for `samples.tokenize_samples`; each `sample_id` is an instruction's id."""
    return [
        {
            "sample_id": row["id"],
            "document_id": row["kind"],
            "messages": [
                {"role": "user", "content": row["instruction"]},
                {"role": "assistant", "content": row["answer"]},
            ],
        }
        for row in json.loads(INSTRUCTIONS_FILE.read_text("utf-8"))
    ]


def decide_claim(candidate: AnswerLikelihood, base: AnswerLikelihood) -> GateClaim:
    """Decide `keeps_the_basics`: the loss is at most 5 % above the base's.

    The interval resamples instructions.
    """
    losses = [candidate.negative_log_likelihoods, base.negative_log_likelihoods]
    loss, base_loss = (sum(nats) / sum(candidate.token_counts) for nats in losses)
    ratio = interval_of_means(losses, lambda means: means[0] / means[1])
    detail = (
        f"loss on {len(candidate.token_counts)} general instructions {loss:.3f} nats per token, "
        f"base model {base_loss:.3f}: {ratio.describe_change()}, "
        f"limit {format_change(MAX_LOSS_RATIO)}"
    )
    return GateClaim(CLAIM, ratio.value <= MAX_LOSS_RATIO, ratio.value, MAX_LOSS_RATIO, detail)


def decide(context: MeasureContext) -> tuple[GateClaim] | str:
    spec, likelihoods = context.spec, context.likelihoods
    if len(likelihoods.samples.general) < MIN_INSTRUCTIONS:  # tokenization may leave some out
        return f"fewer than {MIN_INSTRUCTIONS} instructions could be tokenized"
    models = (spec.candidate.name, spec.base.name)
    return (decide_claim(*(likelihoods.get_part(name, "general") for name in models)),)


MEASURE = Measure(
    claims=(
        ClaimRule(
            CLAIM,
            "The loss on 200 general instructions is at most 5 % above the base's.",
            is_on_request=True,
        ),
    ),
    decide=decide,
    needs_no_answers=True,
)
