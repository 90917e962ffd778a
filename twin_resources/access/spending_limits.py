"""Limit the spending of the home, and of each purpose and key.

Scope: limits by UTC day and month, the settings for them, the refusal, and formatting amounts.
Out of scope: the spending itself (`account.py`).
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
Scope = Literal["home", "purpose", "key"]
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class SpendingLimit:
    """Maximum spending per period in US dollars; None means no limit."""

    usd_per_day: float | None = None
    usd_per_month: float | None = None

    def limit_for_period(self, period: Period) -> float | None:
        """Return the limit of one period."""
        return self.usd_per_day if period == "day" else self.usd_per_month


@dataclass(frozen=True)
class SpendingLimits:
    """The limits of a home that apply to every request; a key has its own.

    Attributes:
        home: limit of all spending.
        purposes: limit of one purpose in the whole home.
    """

    home: SpendingLimit = SpendingLimit()
    purposes: Mapping[Purpose, SpendingLimit] = field(default_factory=dict[Purpose, SpendingLimit])


class OverLimitError(TwinError):
    """The refusal of a reservation that would have exceeded a limit.

    Attributes:
        scope, name: owner of the limit: the home (name empty), a purpose or a key.
        period: `day` or `month`.
        limit_usd, spent_usd, reserved_usd, requested_usd: the limit, the settled amount, the amount
            of open reservations, and the requested amount.
        resets_at: end of the period, UTC.
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
        requested_usd: float,
        now: datetime,
    ) -> None:
        self.scope: Scope = scope
        self.name = name
        self.period: Period = period
        self.limit_usd, self.spent_usd, self.reserved_usd = limit_usd, spent_usd, reserved_usd
        self.requested_usd = requested_usd
        self.resets_at = period_end(period, now)
        self.retry_after_s = max(1, math.ceil((self.resets_at - now).total_seconds()))
        owner = scope if not name else f"{scope} {name}"
        reset_at = f"{self.resets_at:%Y-%m-%d %H:%M} UTC"
        if requested_usd > limit_usd:
            next_step = (
                f"request a shorter answer, or raise this limit "
                f"{_limit_setting(scope, name, period)}"
            )
        elif spent_usd + requested_usd > limit_usd:
            next_step = (
                f"wait until {reset_at}, or raise this limit {_limit_setting(scope, name, period)}"
            )
        else:
            next_step = (
                "try again in a few seconds, when other requests have released part of their "
                "reservations"
            )
        super().__init__(
            f"reserve {format_dollars(requested_usd)}",
            found=f"the {owner} has a limit of {format_dollars(limit_usd)} per {period}: "
            f"{format_dollars(spent_usd)} spent and {format_dollars(reserved_usd)} reserved; "
            f"the limit resets at {reset_at}",
            next_step=next_step,
        )

    @property
    def is_temporary(self) -> bool:
        """Whether the amount would fit without the open reservations."""
        return self.spent_usd + self.requested_usd <= self.limit_usd


def limits_from_settings(settings: Settings) -> SpendingLimits:
    """Return the limits in a home's settings."""
    return SpendingLimits(
        home=SpendingLimit(settings.budget_per_day, settings.budget_per_month),
        purposes={
            "answer": SpendingLimit(usd_per_day=settings.paid_budget_per_day),
            "teacher": SpendingLimit(usd_per_month=settings.teacher_budget_per_month),
            "judge": SpendingLimit(usd_per_month=settings.judge_budget_per_month),
            "label": SpendingLimit(usd_per_month=settings.label_budget_per_month),
        },
    )


def format_dollars(usd: float) -> str:
    """Format an amount with two decimals, or with two significant digits below 9.5 cents."""
    if usd == 0 or abs(usd) >= 0.095:
        return f"${usd:.2f}"
    decimals = min(9, 1 - math.floor(math.log10(abs(usd))))
    return f"${usd:.{decimals}f}"


def period_end(period: Period, now: datetime) -> datetime:
    """Return the first moment after the day or month of `now`, UTC."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return midnight + ONE_DAY
    return (midnight.replace(day=28) + timedelta(days=4)).replace(day=1)


def _limit_setting(scope: Scope, name: str, period: Period) -> str:
    """Return the setting or command that sets a limit."""
    setting_names: Mapping[tuple[str, str], str] = {
        ("home", "day"): "TWIN_BUDGET_PER_DAY",
        ("home", "month"): "TWIN_BUDGET_PER_MONTH",
        ("answer", "day"): "TWIN_PAID_BUDGET_PER_DAY",
        ("teacher", "month"): "TWIN_TEACHER_BUDGET_PER_MONTH",
        ("judge", "month"): "TWIN_JUDGE_BUDGET_PER_MONTH",
        ("label", "month"): "TWIN_LABEL_BUDGET_PER_MONTH",
        ("key", "day"): "twin keys add --usd-per-day",
    }
    setting = setting_names.get((name if scope == "purpose" else scope, period))
    return f"({setting})" if setting else "in the code that created the account"
