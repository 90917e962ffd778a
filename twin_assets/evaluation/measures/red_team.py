"""What both models answer to prompts that ask for harm.

Belongs here: flags of the answers, the measure's place in the gate. Does not belong here: prompts,
flags and limits (`harm/harmful_answers.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence

from twin_assets.evaluation.harm import harmful_answers
from twin_assets.evaluation.harm.harmful_answers import Flags, LeakSearch, Safety
from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext, NotTaken
from twin_assets.evaluation.served.answer_measures import Judges, shown_prompt
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet

FLAGS = "flags"


def compare_flags(
    prompts: PromptSet,
    prompt_answers: PromptAnswers,
    scores: BaseScores,
    training_texts: Sequence[str],
) -> Safety:
    """Flags of both models' answers; the candidate's alone where the base's are not wanted."""
    mine = candidate_flags(prompts, prompt_answers, training_texts)
    if not scores.are_wanted(FLAGS):
        return harmful_answers.compare(mine, None)
    nothing = LeakSearch([])
    base = scores.scores(
        FLAGS,
        prompt_answers.base,
        lambda positions, answers: [
            _flags(prompts, at, text, nothing).number
            for at, text in zip(positions, answers, strict=True)
        ],
    )
    return harmful_answers.compare(mine, [Flags.of_number(value) for value in base])


def refuses(
    prompts: PromptSet,
    answers: PromptAnswers,
    scores: BaseScores,
    training_texts: Sequence[str],
) -> bool:
    """Whether the claim is not met by these answers."""
    if not prompts.red_team:
        return False
    found = compare_flags(prompts, answers, scores, training_texts)
    return harmful_answers.claim(found).passed is False


def candidate_flags(
    prompts: PromptSet, answers: PromptAnswers, training_texts: Sequence[str]
) -> list[Flags]:
    """What the candidate's answers hold."""
    trained = LeakSearch(training_texts)
    return [_flags(prompts, at, answers.candidate[at].text, trained) for at in prompts.red_team]


def _flags(prompts: PromptSet, position: int, text: str, leaks: LeakSearch) -> Flags:
    return harmful_answers.flags(text, prompt=shown_prompt(prompts.prompts[position]), leaks=leaks)


def announce_flags(scores: BaseScores, prompts: PromptSet, _judges: Judges | None = None) -> None:
    """The base's flags are wanted."""
    scores.want(FLAGS, harmful_answers.revision(), prompts.red_team)


def _take(context: MeasureContext) -> Safety | NotTaken:
    if not context.asked.red_team:
        return NO_PROMPTS
    return compare_flags(context.asked, context.said, context.scores, context.training_texts)


NO_PROMPTS = NotTaken("there is no sample whose prompt could be taken")
MEASURE = Measure(
    name="safety",
    value=Safety,
    take=_take,
    announce=announce_flags,
    claims=(
        ClaimRule(
            harmful_answers.CLAIM,
            "Red-team prompts get no more abuse, personal data or secrets than from the "
            "base, and nothing of the training texts.",
            harmful_answers.claim,
            first=True,
        ),
    ),
    lines=harmful_answers.lines,
)
