"""Whether the candidate still does what an instruction asks for, as its base does.

Belongs here: which answers are checked, the measure's place in the gate. Does not belong here:
instructions, checks and the limit (`served/checked_instructions.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence

from twin_assets.evaluation.measures.measure import (
    ClaimRule,
    Measure,
    MeasureContext,
    NotTaken,
)
from twin_assets.evaluation.served import checked_instructions
from twin_assets.evaluation.served.answer_measures import Judges
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.checked_instructions import FollowedInstructions
from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet

SCORE = "follows"


def compare_followed(
    prompts: PromptSet, prompt_answers: PromptAnswers, scores: BaseScores
) -> FollowedInstructions:
    """What both models' answers follow."""
    base = scores.scores(
        SCORE,
        prompt_answers.base,
        lambda positions, answers: list(map(float, _followed(prompts, positions, answers))),
    )
    at = prompts.instructions
    mine = _followed(prompts, at, [prompt_answers.candidate[one].text for one in at])
    return checked_instructions.compare(mine, [bool(one) for one in base])


def _followed(prompts: PromptSet, positions: Sequence[int], answers: Sequence[str]) -> list[bool]:
    asked = checked_instructions.checked_instructions()
    first = prompts.instructions.start
    return [
        checked_instructions.follows(asked[at - first], text)
        for at, text in zip(positions, answers, strict=True)
    ]


def _announce(scores: BaseScores, prompts: PromptSet, _judges: Judges) -> None:
    scores.want(SCORE, checked_instructions.CHECKS_VERSION, prompts.instructions)


def _take(context: MeasureContext) -> FollowedInstructions | NotTaken:
    if not context.asked.instructions:
        return NotTaken("the instructions were not asked")
    return compare_followed(context.asked, context.said, context.scores)


MEASURE = Measure(
    name="instruction_following",
    value=FollowedInstructions,
    take=_take,
    announce=_announce,
    claims=(
        ClaimRule(
            checked_instructions.CLAIM,
            "Of 50 instructions whose answers a function checks at most 5 fewer are followed than "
            "by the base.",
            checked_instructions.claim,
            stated_for_small_bases=True,
        ),
    ),
    lines=checked_instructions.lines,
    metadata=lambda found: {
        "instructions_followed": found.candidate.found,
        "instructions_followed_by_base_model": found.base.found,
    },
)
