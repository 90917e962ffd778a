"""Compare how many checked instructions the candidate and its base follow.

The instructions and their checks: `served/checked_instructions.py`.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence

from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext
from twin_assets.evaluation.served import checked_instructions
from twin_assets.evaluation.statistics.bootstrap import paired_difference
from twin_assets.evaluation.statistics.rates import compute_rate, format_rate
from twin_resources.registry.moves import GateClaim

CLAIM = "keeps_following_instructions"
MAX_DROP_BELOW_BASE = 0.1
MIN_FOLLOWED_BY_BASE = 12  # with fewer, a drop could not be measured
FOLLOWS_SCORE = "follows"


def decide_claim(candidate: Sequence[bool], base: Sequence[bool]) -> GateClaim:
    """Decide `keeps_following_instructions`: the drop is at most a tenth of all instructions.

    Args:
        candidate, base: for each instruction, whether the model followed it. The interval of their
            difference resamples instructions.
    """
    followed, base_followed = compute_rate(candidate), compute_rate(base)
    difference = paired_difference(list(map(float, candidate)), list(map(float, base)))
    detail = (
        f"followed {format_rate(followed)} automatically checked instructions, base model "
        f"{format_rate(base_followed)}: {difference.describe()}, limit -{MAX_DROP_BELOW_BASE}"
    )
    if base_followed.found < MIN_FOLLOWED_BY_BASE:
        detail = f"not decided: the base model follows fewer than {MIN_FOLLOWED_BY_BASE}; {detail}"
        return GateClaim(CLAIM, None, None, -MAX_DROP_BELOW_BASE, detail)
    drop = base_followed.found - followed.found
    is_met = drop <= MAX_DROP_BELOW_BASE * base_followed.of
    return GateClaim(CLAIM, is_met, difference.value, -MAX_DROP_BELOW_BASE, detail)


def decide(context: MeasureContext) -> tuple[GateClaim] | str:
    positions = context.prompts.instructions
    if not positions:
        return "the instructions were not sent to the models"
    instructions = checked_instructions.read_checked_instructions()

    def check(checked_positions: Sequence[int], texts: Sequence[str]) -> list[float]:
        return [
            float(
                checked_instructions.has_requested_form(
                    instructions[position - positions.start], text
                )
            )
            for position, text in zip(checked_positions, texts, strict=True)
        ]

    base = context.scores.get_or_compute(FOLLOWS_SCORE, context.answers.base, check)
    candidate = check(positions, context.candidate_texts(positions))
    return (decide_claim(list(map(bool, candidate)), list(map(bool, base))),)


MEASURE = Measure(
    claims=(
        ClaimRule(
            CLAIM,
            "Of 50 automatically checked instructions, the candidate follows at most 5 fewer than "
            "the base model.",
            is_on_request=True,
        ),
    ),
    decide=decide,
    request_base_scores=lambda context: context.scores.request(
        FOLLOWS_SCORE, checked_instructions.CHECKS_VERSION, context.prompts.instructions
    ),
)
