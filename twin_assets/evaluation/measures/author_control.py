"""What was learnt of this author and not of any: the gain beside another author's passages.

Belongs here: the measure's place in the gate. Does not belong here: comparing the gains
(`likelihood/control.py`).
"""
# pyright: strict

from __future__ import annotations

from twin_assets.evaluation.likelihood import control
from twin_assets.evaluation.likelihood.control import Control
from twin_assets.evaluation.measures.measure import (
    ClaimRule,
    Measure,
    MeasureContext,
    Measurements,
    NotTaken,
)
from twin_resources.registry.moves import GateClaim


def _take(context: MeasureContext) -> Control | NotTaken | None:
    question = context.question
    control_read = context.read.control(question.candidate.name, question.base.name)
    if control_read is None and not context.too_few:
        return NotTaken(f"fewer than {control.FEWEST} passages of either side")
    return control_read


def _alone(measured: Measurements) -> GateClaim | None:
    if measured.others:
        return None
    return GateClaim(control.CLAIM, True, None, 1.0, "nobody else's posts to compare with")


MEASURE = Measure(
    name="control",
    value=Control,
    take=_take,
    early=True,
    claims=(
        ClaimRule(
            control.CLAIM,
            "The author's passages gained more likelihood than another author's.",
            control.claim,
            without=_alone,
        ),
    ),
    lines=control.lines,
    metadata=lambda found: {"ratio_to_base_of_control": round(found.other, 4)},
)
