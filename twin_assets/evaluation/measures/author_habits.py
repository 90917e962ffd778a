"""Style habits of the answers beside the author's; they decide nothing.

Belongs here: which texts are compared. Does not belong here: the habits (`style/style_habits.py`).
"""
# pyright: strict

from __future__ import annotations

from twin_assets.evaluation.measures.measure import Measure, MeasureContext
from twin_assets.evaluation.served.answer_measures import base_of_same
from twin_assets.evaluation.served.served_answers import ANSWER_TOKENS
from twin_assets.evaluation.style import style_habits
from twin_assets.evaluation.style.style_habits import StyleHabits, measure_style_habits


def _take(context: MeasureContext) -> StyleHabits | None:
    if context.too_few:
        return None
    answers = [context.said.candidate[at] for at in context.asked.held_out]
    return measure_style_habits(
        context.training_texts,
        candidate=[one.text for one in answers],
        base=base_of_same(context.asked, context.said) or (),
        groups=context.asked.documents[: len(answers)],
        complete=[len(one.tokens) < ANSWER_TOKENS for one in answers],
    )


MEASURE = Measure(name="habits", value=StyleHabits, take=_take, lines=style_habits.lines)
