"""How fast the candidate answered; it decides nothing.

Belongs here: which replies are timed. Does not belong here: rates (`served/speed.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping

from twin_assets.evaluation.measures.measure import Measure
from twin_assets.evaluation.served import speed
from twin_assets.evaluation.served.served_answers import PromptAnswers
from twin_assets.evaluation.served.speed import ServedSpeed, TimedReply


def speed_of(answers: PromptAnswers) -> ServedSpeed | None:
    """None when the candidate said nothing."""
    timed = [TimedReply(len(one.tokens), one.seconds) for one in answers.candidate.values()]
    if not any(one.tokens for one in timed):
        return None
    return speed.measure_speed(timed, wall_s=answers.wall_s, at_once=answers.at_once)


def _metadata(speed: ServedSpeed) -> Mapping[str, float]:
    return {
        "tokens_per_second": round(speed.tokens_per_s, 1),
        "seconds_a_reply": round(speed.reply_s.value, 2),
    }


MEASURE = Measure(
    name="speed",
    value=ServedSpeed,
    take=lambda context: speed_of(context.said),
    lines=speed.lines,
    metadata=_metadata,
)
