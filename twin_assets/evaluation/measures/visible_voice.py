"""Habits of author, base and candidate to look at; they decide nothing.

Belongs here: which texts are counted. Does not belong here: counting (`style/voice_figures.py`),
drawing (`report/plots.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping

from twin_assets.evaluation.measures.measure import Measure, MeasureContext
from twin_assets.evaluation.served.answer_measures import base_of_same
from twin_assets.evaluation.style import voice_figures
from twin_assets.evaluation.style.voice_figures import measure_voice_shown
from twin_resources.quality.judges.voice_shown import VoiceShown


def _take(context: MeasureContext) -> VoiceShown | None:
    """The base's answers to the same questions where all were asked, else to others."""
    if context.too_few:
        return None
    return measure_voice_shown(
        context.own_texts,
        base=base_of_same(context.asked, context.said) or context.known.base_answers,
        tuned=[context.said.candidate[at].text for at in context.asked.held_out],
    )


def _metadata(shown: VoiceShown) -> Mapping[str, float]:
    figures: dict[str, float] = {}
    for habit in shown.habits:
        name = habit.name.replace(" ", "_")
        figures[f"{name}_apart_from_author"] = habit.tuned_apart
        figures[f"{name}_apart_from_author_of_base_model"] = habit.base_apart
    return figures


MEASURE = Measure(
    name="shown",
    value=VoiceShown,
    take=_take,
    lines=voice_figures.lines,
    metadata=_metadata,
)
