"""Whether the candidate still follows general instructions as its base does.

Belongs here: the measure's place in the gate. Does not belong here: the losses
(`likelihood/basics.py`).
"""
# pyright: strict

from __future__ import annotations

from twin_assets.evaluation.likelihood import basics
from twin_assets.evaluation.likelihood.basics import Basics
from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext


def _take(context: MeasureContext) -> Basics:
    question = context.question
    return context.read.basics(question.candidate.name, question.base.name)


MEASURE = Measure(
    name="basics",
    value=Basics,
    take=_take,
    early=True,
    claims=(
        ClaimRule(
            basics.CLAIM,
            "Loss on 200 general instructions is at most 5 % above the base's.",
            basics.claim,
        ),
    ),
    lines=basics.lines,
    metadata=lambda found: {"loss_on_basics_to_base_model": round(found.ratio.value, 4)},
)
