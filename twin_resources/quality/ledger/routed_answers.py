"""Count an author's routed answers since a given time from the ledger's traces.

Scope: answers by class and route, minutes without a certified margin, and savings.
Out of scope: the policy (`router/`), displaying it (`commands/routing_command.py`,
`routing_policy`).
"""
# pyright: strict

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import fmean, stdev

import sqlalchemy as sa

from twin_resources.quality.ledger import ledger_tables
from twin_resources.registry.route_names import (
    FALLBACK_PREFIX,
    FRONT_DESK,
    PAID,
    QUOTES,
    ROUTED_PREFIX,
)

_NOT_OWN_VERSIONS = (PAID, QUOTES, FRONT_DESK)  # answers that our models did not write
_OWN_ROUTES = ("stable", "canary")
_PAID_ROUTES = (ROUTED_PREFIX, FALLBACK_PREFIX + PAID)
_MARGIN_NOT_HELD = "%margin not held%"
_Z_95 = 1.96
_MINUTE_MS = 60_000


@dataclass(frozen=True)
class ClassCounts:
    """One class's answers by our own models, and by the paid model unless a reader chose it."""

    own: int = 0
    paid: int = 0


@dataclass(frozen=True)
class RoutedAnswers:
    """An author's answers since a given time, except those for an alias that a reader chose.

    Attributes:
        classes: prompt class → its counts.
        own, paid: the totals over all classes.
        minutes_without_margin: the number of distinct minutes with an answer for which the
            remaining money allowed no certified operating point.
        utilization: the share of the time since our own models' first answer that they spent
            answering, at most 1. Overlapping answers count twice. Without answers, it is 0.
    """

    classes: Mapping[str, ClassCounts] = field(default_factory=dict[str, ClassCounts])
    own: int = 0
    paid: int = 0
    minutes_without_margin: int = 0
    utilization: float = 0.0


def count_routed_answers(
    connection: sa.Connection, author: str, *, since: datetime
) -> RoutedAnswers:
    """Count an author's answers since a given time, excluding simulated ones."""
    table = ledger_tables.traces
    conditions = (
        table.c.author == author,
        table.c.started_ms >= int(since.timestamp() * 1000),
        table.c.simulated.is_(False),
    )
    rows = connection.execute(
        sa.select(table.c.prompt_class, table.c.route, sa.func.count())
        .where(*conditions)
        .group_by(table.c.prompt_class, table.c.route)
    ).tuples()
    own_counts, paid_counts = Counter[str](), Counter[str]()
    for name, route, count in rows:
        if route in _OWN_ROUTES:
            own_counts[name] += count
        elif route.startswith(_PAID_ROUTES):
            paid_counts[name] += count
    is_own_model = table.c.version.notin_(_NOT_OWN_VERSIONS)
    minute = table.c.started_ms // _MINUTE_MS
    first_ms, answering_seconds, minutes = connection.execute(
        sa.select(
            sa.func.min(table.c.started_ms).filter(is_own_model),
            sa.func.sum(table.c.latency_s).filter(is_own_model),
            sa.func.count(minute.distinct()).filter(table.c.degraded.like(_MARGIN_NOT_HELD)),
        ).where(*conditions)
    ).one()
    elapsed_seconds = datetime.now(UTC).timestamp() - (first_ms or 0) / 1000
    return RoutedAnswers(
        utilization=min(1.0, (answering_seconds or 0.0) / max(elapsed_seconds, 1.0)),
        classes={
            name: ClassCounts(own_counts[name], paid_counts[name])
            for name in sorted(own_counts | paid_counts)
        },
        own=own_counts.total(),
        paid=paid_counts.total(),
        minutes_without_margin=minutes,
    )


def month_start(now: datetime | None = None) -> datetime:
    """Return 00:00 UTC on the first day of the month."""
    utc_now = (now or datetime.now(UTC)).astimezone(UTC)
    return utc_now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def estimate_savings_usd(own: int, paid_usd: Sequence[float]) -> tuple[float, float, float]:
    """Estimate the cost of our own model's answers at the paid model's price, with a 95 % interval.

    Args:
        own: the number of our own model's answers.
        paid_usd: the costs of paid answers to similar questions (those of the labels).

    Returns:
        The estimate and the ends of its interval in US dollars; zeros without costs or answers.
    """
    if not paid_usd or not own:
        return 0.0, 0.0, 0.0
    mean = fmean(paid_usd)
    spread = stdev(paid_usd) if len(paid_usd) > 1 else mean
    # The error of the mean, and the spread of `own` answers around it.
    half_width = _Z_95 * spread * math.sqrt(1.0 / len(paid_usd) + 1.0 / own)
    return own * mean, own * max(0.0, mean - half_width), own * (mean + half_width)
