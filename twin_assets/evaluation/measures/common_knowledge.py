"""Whether the candidate still knows what everybody knows, as its base does.

Belongs here: the measure's place in the gate. Does not belong here: questions and scores
(`likelihood/choices.py`).
"""
# pyright: strict

from __future__ import annotations

from twin_assets.evaluation.likelihood import choices
from twin_assets.evaluation.likelihood.choices import CommonKnowledge
from twin_assets.evaluation.measures.measure import (
    ClaimRule,
    Measure,
    MeasureContext,
    NotTaken,
)


def _take(context: MeasureContext) -> CommonKnowledge | NotTaken:
    question = context.question
    if not context.read.reading.choices:
        return NotTaken("no model has read the questions")
    return context.read.choices(question.candidate.name, question.base.name)


MEASURE = Measure(
    name="common_knowledge",
    value=CommonKnowledge,
    take=_take,
    early=True,
    claims=(
        ClaimRule(
            choices.CLAIM,
            "The right options of 100 common questions are at most .1 less likely than the "
            "base holds them, 95 % interval included.",
            choices.claim,
        ),
    ),
    lines=choices.lines,
    metadata=lambda found: {
        "common_knowledge": found.candidate.found,
        "common_knowledge_of_base_model": found.base.found,
    },
)
