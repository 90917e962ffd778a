"""Cosine Delta of all that the candidate wrote on held-out questions; it decides nothing.

Belongs here: which texts are compared. Does not belong here: the distance (`style/delta.py`).
"""
# pyright: strict

from __future__ import annotations

from twin_assets.evaluation.measures.measure import Measure, MeasureContext
from twin_assets.evaluation.style import delta
from twin_assets.evaluation.style.delta import Delta, DocumentText, measure_delta
from twin_resources.quality.judges.voice import BASE_MODEL


def _take(context: MeasureContext) -> Delta | None:
    if context.too_few:
        return None
    base_answers = context.known.base_answers
    reference = {
        hand.name: [DocumentText(document, text) for document, text in hand.passages]
        for hand in context.known.hands
    }
    base = [DocumentText(str(number), text) for number, text in enumerate(base_answers)]
    return measure_delta(
        context.own_texts,
        {**reference, BASE_MODEL: base},
        candidate=[context.said.candidate[at].text for at in context.asked.held_out],
        base=base_answers,
        base_hand=BASE_MODEL,
    )


MEASURE = Measure(name="delta", value=Delta, take=_take, lines=delta.lines)
