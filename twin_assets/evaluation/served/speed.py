"""How fast a served model answers.

Belongs here: tokens a second and seconds a reply from replies that were timed as they were asked
for. Does not belong here: asking (`served_model.py`), prices (`twin_resources/gateway/cost.py`).

Tokens a second is that of the whole server (all replies of a batch over its wall time), as a reader
of capacity needs it; seconds a reply is what one reader waits, the prompt included. Both depend on
the machine and on what else runs on it, so they are stated and decide nothing.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twin_resources.errors import TwinError
from twin_resources.statistics.bootstrap import Interval, mean, of_means


@dataclass(frozen=True)
class TimedReply:
    """One reply: its tokens, and the seconds from the request to its end."""

    tokens: int
    seconds: float


@dataclass(frozen=True)
class ServedSpeed:
    """Of one server under the load of the evaluation.

    Attributes:
        replies, tokens: how many.
        at_once: requests in flight.
        tokens_per_s: all tokens over the wall time of the batch.
        reply_tokens_per_s: tokens of all replies over their added seconds.
        reply_s: mean seconds a reply.
        slowest_s: one of twenty replies takes longer.
    """

    replies: int
    tokens: int
    at_once: int
    tokens_per_s: float
    reply_tokens_per_s: Interval
    reply_s: Interval
    slowest_s: float


def measure_speed(replies: Sequence[TimedReply], *, wall_s: float, at_once: int) -> ServedSpeed:
    """Summarise timed replies; those without a token are left out of all but the wall time.

    Args:
        wall_s: from the first request to the last reply.
        at_once: requests in flight.

    Raises:
        TwinError: no reply has a token, or no time has passed.
    """
    import numpy as np

    timed = [one for one in replies if one.tokens > 0 and one.seconds > 0]
    if not timed or wall_s <= 0:
        raise TwinError(
            "measure how fast the model answers",
            found=f"{len(timed)} of {len(replies)} replies with a token in {wall_s:.3f} s",
            next_step="ask the server for more answers, or read its log",
        )
    tokens = [float(one.tokens) for one in timed]
    seconds = [one.seconds for one in timed]
    return ServedSpeed(
        replies=len(timed),
        tokens=round(sum(tokens)),
        at_once=at_once,
        tokens_per_s=sum(tokens) / wall_s,
        reply_tokens_per_s=of_means([tokens, seconds], lambda means: means[0] / means[1]),
        reply_s=mean(seconds),
        slowest_s=float(np.quantile(seconds, 0.95)),
    )


def lines(speed: ServedSpeed) -> list[str]:
    """For the report."""
    rate, wait = speed.reply_tokens_per_s, speed.reply_s
    return [
        f"- Served, {speed.at_once} requests at once: {speed.tokens_per_s:.0f} tokens/s together; "
        f"one reply {rate.value:.0f} tokens/s (95 %: {rate.low:.0f} to {rate.high:.0f}), "
        f"{wait.value:.2f} s (95 %: {wait.low:.2f} to {wait.high:.2f}; one of twenty above "
        f"{speed.slowest_s:.2f} s), {speed.replies} replies of {speed.tokens} tokens."
    ]
