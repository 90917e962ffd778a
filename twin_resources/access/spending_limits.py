"""How much may be spent, by whom, and what is said when it is more.

Scope: limits of home, purpose, author and key by UTC day and month, where each is set, the
refusal, and amounts as people read them.
Out of scope: what was spent (`account.py`), its rows (`account_rows.py`).
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from twin_resources.errors import TwinError

if TYPE_CHECKING:
    from twin_resources.settings import Settings

Purpose = Literal["answer", "teacher", "judge", "label"]
Period = Literal["day", "month"]
Scope = Literal["home", "purpose", "author", "key"]
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class SpendingLimit:
    """At most so many US dollars; None: no limit."""

    usd_per_day: float | None = None
    usd_per_month: float | None = None

    def of(self, period: Period) -> float | None:
        """The limit of one period."""
        return self.usd_per_day if period == "day" else self.usd_per_month


@dataclass(frozen=True)
class SpendingLimits:
    """The limits of a home that hold for every request; a key brings its own.

    Attributes:
        home: of all that is spent.
        author: of each author.
        purposes: of one purpose in the whole home.
    """

    home: SpendingLimit = SpendingLimit()
    author: SpendingLimit = SpendingLimit()
    purposes: Mapping[Purpose, SpendingLimit] = field(default_factory=dict[Purpose, SpendingLimit])


class OverLimit(TwinError):
    """A reservation would pass a limit; nothing was reserved.

    Attributes:
        scope, name: whose limit: the home's (name empty), a purpose's, an author's or a key's.
        period: `day` or `month`.
        limit_usd, spent_usd, reserved_usd, most_usd: the limit, what is settled, what others hold
            now, and what was asked for.
        opens_at: when the period ends, UTC.
        retry_after_s: seconds until then, at least 1.
    """

    def __init__(
        self,
        *,
        scope: Scope,
        name: str,
        period: Period,
        limit_usd: float,
        spent_usd: float,
        reserved_usd: float,
        most_usd: float,
        now: datetime,
    ) -> None:
        self.scope: Scope = scope
        self.name = name
        self.period: Period = period
        self.limit_usd, self.spent_usd, self.reserved_usd = limit_usd, spent_usd, reserved_usd
        self.most_usd = most_usd
        self.opens_at = end_of(period, now)
        self.retry_after_s = max(1, math.ceil((self.opens_at - now).total_seconds()))
        whose = scope if not name else f"{scope} {name}"
        opens = f"{self.opens_at:%Y-%m-%d %H:%M} UTC"
        if most_usd > limit_usd:
            next_step = (
                f"ask for a shorter answer, or raise this limit {_where(scope, name, period)}"
            )
        elif spent_usd + most_usd > limit_usd:
            next_step = f"wait until {opens}, or raise this limit {_where(scope, name, period)}"
        else:
            next_step = "ask again in some seconds: what others reserve is given back in part"
        super().__init__(
            f"reserve {dollars(most_usd)}",
            found=f"the limit of {dollars(limit_usd)} a {period} of the {whose}: "
            f"{dollars(spent_usd)} spent and {dollars(reserved_usd)} reserved; "
            f"it opens again at {opens}",
            next_step=next_step,
        )

    @property
    def is_passing(self) -> bool:
        """Whether it is enough to wait for the requests that are under way."""
        return self.spent_usd + self.most_usd <= self.limit_usd


def limits_of(settings: Settings) -> SpendingLimits:
    """The limits that a home's settings name."""
    return SpendingLimits(
        home=SpendingLimit(settings.budget_per_day, settings.budget_per_month),
        author=SpendingLimit(settings.author_budget_per_day, settings.author_budget_per_month),
        purposes={
            "answer": SpendingLimit(usd_per_day=settings.paid_budget_per_day),
            "teacher": SpendingLimit(usd_per_month=settings.teacher_budget_per_month),
            "judge": SpendingLimit(usd_per_month=settings.judge_budget_per_month),
            "label": SpendingLimit(usd_per_month=settings.label_budget_per_month),
        },
    )


def dollars(usd: float) -> str:
    """An amount for people: two decimals, or as many as a smaller one needs to be seen."""
    if usd == 0 or abs(usd) >= 0.095:
        return f"${usd:.2f}"
    decimals = min(9, 1 - math.floor(math.log10(abs(usd))))
    return f"${usd:.{decimals}f}"


def end_of(period: Period, now: datetime) -> datetime:
    """The first moment after the day or month of `now`, UTC."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return midnight + ONE_DAY
    return (midnight.replace(day=28) + timedelta(days=4)).replace(day=1)


def _where(scope: Scope, name: str, period: Period) -> str:
    """Where a limit is set."""
    names: Mapping[tuple[str, str], str] = {
        ("home", "day"): "TWIN_BUDGET_PER_DAY",
        ("home", "month"): "TWIN_BUDGET_PER_MONTH",
        ("author", "day"): "TWIN_AUTHOR_BUDGET_PER_DAY",
        ("author", "month"): "TWIN_AUTHOR_BUDGET_PER_MONTH",
        ("answer", "day"): "TWIN_PAID_BUDGET_PER_DAY",
        ("teacher", "month"): "TWIN_TEACHER_BUDGET_PER_MONTH",
        ("judge", "month"): "TWIN_JUDGE_BUDGET_PER_MONTH",
        ("label", "month"): "TWIN_LABEL_BUDGET_PER_MONTH",
        ("key", "day"): "twin keys add --usd-per-day",
    }
    set_by = names.get((name if scope == "purpose" else scope, period))
    return f"({set_by})" if set_by else "where the account was opened"
