"""Compare how many checked instructions the candidate and its base follow.

Scope: choosing the answers to check, the comparison and its limit. Out of scope:
instructions and checks (`served/checked_instructions.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext, NotMeasured
from twin_assets.evaluation.served import checked_instructions
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet
from twin_assets.evaluation.served.served_judges import Judges
from twin_assets.evaluation.statistics.bootstrap import Interval, paired_difference
from twin_assets.evaluation.statistics.rates import Rate, compute_rate, format_rate
from twin_resources.registry.moves import GateClaim

CLAIM = "keeps_following_instructions"
MAX_DROP_BELOW_BASE = 0.1
MIN_FOLLOWED_BY_BASE = 12  # with fewer, a drop could not be measured
FOLLOWS_SCORE = "follows"


@dataclass(frozen=True)
class FollowedInstructions:
    """The shares of instructions that two models followed.

    Attributes:
        candidate, base: share of all instructions that the model followed.
        difference: candidate − base; its interval resamples instructions.
    """

    candidate: Rate
    base: Rate
    difference: Interval


def compare_instruction_following(
    prompts: PromptSet, prompt_answers: PromptAnswers, scores: BaseScores
) -> FollowedInstructions:
    """Check both models' answers, and compare how many instructions they follow."""
    base_scores = scores.get_or_compute(
        FOLLOWS_SCORE,
        prompt_answers.base,
        lambda positions, answers: list(map(float, _check_answers(prompts, positions, answers))),
    )
    positions = prompts.instructions
    texts = [prompt_answers.candidate[position].text for position in positions]
    return compare(
        _check_answers(prompts, positions, texts), [bool(score) for score in base_scores]
    )


def compare(candidate: Sequence[bool], base: Sequence[bool]) -> FollowedInstructions:
    """Compare how many instructions each model followed, from a flag for each instruction."""
    return FollowedInstructions(
        candidate=compute_rate(candidate),
        base=compute_rate(base),
        difference=paired_difference(list(map(float, candidate)), list(map(float, base))),
    )


def decide_claim(followed: FollowedInstructions) -> GateClaim:
    """Decide `keeps_following_instructions`: the drop is at most a tenth of all instructions."""
    detail = (
        f"followed {format_rate(followed.candidate)} automatically checked instructions, base "
        f"model {format_rate(followed.base)}: {followed.difference.describe()}, limit "
        f"-{MAX_DROP_BELOW_BASE}"
    )
    if followed.base.found < MIN_FOLLOWED_BY_BASE:
        detail = f"not decided: the base model follows fewer than {MIN_FOLLOWED_BY_BASE}; {detail}"
        return GateClaim(CLAIM, None, None, -MAX_DROP_BELOW_BASE, detail)
    value = followed.difference.value
    drop = followed.base.found - followed.candidate.found
    is_met = drop <= MAX_DROP_BELOW_BASE * followed.base.of
    return GateClaim(CLAIM, is_met, value, -MAX_DROP_BELOW_BASE, detail)


def _check_answers(
    prompts: PromptSet, positions: Sequence[int], answers: Sequence[str]
) -> list[bool]:
    instructions = checked_instructions.read_checked_instructions()
    first_position = prompts.instructions.start
    return [
        checked_instructions.has_requested_form(instructions[position - first_position], text)
        for position, text in zip(positions, answers, strict=True)
    ]


def _request_base_scores(scores: BaseScores, prompts: PromptSet, _judges: Judges) -> None:
    scores.request(FOLLOWS_SCORE, checked_instructions.CHECKS_VERSION, prompts.instructions)


def _compute(context: MeasureContext) -> FollowedInstructions | NotMeasured:
    if not context.prompts.instructions:
        return NotMeasured("the instructions were not sent to the models")
    return compare_instruction_following(context.prompts, context.answers, context.scores)


MEASURE = Measure(
    name="instruction_following",
    value_type=FollowedInstructions,
    compute=_compute,
    request_base_scores=_request_base_scores,
    claims=(
        ClaimRule(
            CLAIM,
            "Of 50 automatically checked instructions, the candidate follows at most 5 fewer than "
            "the base model.",
            decide_claim,
            is_on_request=True,
        ),
    ),
)
