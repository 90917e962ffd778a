"""How often each model says that it does not know what no post tells; it decides nothing.

Belongs here: which answers are looked at. Does not belong here: questions and wordings
(`judged/grounding.py`).
"""
# pyright: strict

from __future__ import annotations

from twin_assets.evaluation.judged import grounding
from twin_assets.evaluation.judged.grounding import Refusals
from twin_assets.evaluation.measures.measure import Measure, MeasureContext
from twin_assets.evaluation.served.answer_measures import Judges
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet


def compare_refusals(
    prompts: PromptSet, prompt_answers: PromptAnswers, scores: BaseScores
) -> Refusals | None:
    """None where nothing unanswerable was asked."""
    if not prompts.unanswerable:
        return None
    base = scores.scores(
        "declines",
        prompt_answers.base,
        lambda _positions, answers: [float(grounding.declines(text)) for text in answers],
    )
    mine = [grounding.declines(prompt_answers.candidate[at].text) for at in prompts.unanswerable]
    return grounding.refusals(mine, [bool(value) for value in base])


def _announce(scores: BaseScores, prompts: PromptSet, _judges: Judges) -> None:
    scores.want("declines", grounding.DECLINES_VERSION, prompts.unanswerable)


def _take(context: MeasureContext) -> Refusals | None:
    return compare_refusals(context.asked, context.said, context.scores)


MEASURE = Measure(
    name="refusals",
    value=Refusals,
    take=_take,
    announce=_announce,
    lines=grounding.refusal_lines,
)
