"""Test that no limit of the account is exceeded, even at midnight and at the end of a month."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from twin_resources.access.account import (
    DETAILED_DAYS,
    NANO_PER_DOLLAR,
    RESERVATION_TIMEOUT_S,
    AmountSpent,
    Reservation,
    SpendingAccount,
    anonymize,
    paid_requests,
)
from twin_resources.access.spending_limits import (
    OverLimitError,
    SpendingLimit,
    SpendingLimits,
    format_dollars,
    limits_from_settings,
)
from twin_resources.errors import TwinError
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
BEFORE_MIDNIGHT = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)  # on a month's last day
AFTER_MIDNIGHT = datetime(2026, 12, 1, 0, 0, 1, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that changes only when it is set."""

    now: datetime = NOON

    def __call__(self) -> float:
        return self.now.timestamp()


@pytest.fixture
def state(home: Settings) -> Iterator[State]:
    state = open_home_state(home)
    yield state
    state.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def create_account(state: State, clock: Clock) -> Callable[..., SpendingAccount]:
    def build(**limits: SpendingLimit) -> SpendingAccount:
        home_limit = limits.pop("home", SpendingLimit())
        return SpendingAccount(state, SpendingLimits(home_limit, limits), clock=clock)  # type: ignore[arg-type]

    return build


def reserve(account: SpendingAccount, usd: float, **arguments: object) -> Reservation:
    """Reserve an amount for an answer of Ada's twin, unless the arguments differ."""
    request = {"purpose": "answer", "author": "ada", "key": "site", "max_usd": usd}
    return account.reserve(**request | arguments)  # type: ignore[arg-type]


def spend(account: SpendingAccount, usd: float, **arguments: object) -> None:
    account.settle(reserve(account, usd, **arguments), usd)


def test_a_reservation_counts_until_it_is_settled(
    create_account: Callable[..., SpendingAccount],
) -> None:
    account = create_account(home=SpendingLimit(usd_per_day=1.0))
    first = reserve(account, 0.6)
    assert account.sum_spending() == AmountSpent(0.0, 0.6, 0)
    with pytest.raises(OverLimitError) as excinfo:
        reserve(account, 0.5)
    error = excinfo.value
    assert (error.scope, error.period, error.spent_usd, error.reserved_usd) == (
        "home", "day", 0.0, 0.6,
    )  # fmt: skip
    assert error.is_temporary
    assert "a few seconds" in error.next_step
    account.settle(first, 0.1)
    assert account.sum_spending() == AmountSpent(0.1, 0.0, 1)
    second = reserve(account, 0.5)
    account.release(second)
    assert account.sum_spending() == AmountSpent(0.1, 0.0, 1), "a released request does not count"
    account.settle(first, 0.9)
    account.release(first)
    assert account.sum_spending().usd == 0.1, "only the first settlement counts"


def test_sums_do_not_drift_and_a_limit_is_reached_to_the_nano_dollar(
    create_account: Callable[..., SpendingAccount],
) -> None:
    account = create_account(home=SpendingLimit(usd_per_day=0.3))
    for _ in range(3):
        spend(account, 0.1)
    assert account.sum_spending().usd == 0.3
    with pytest.raises(OverLimitError):
        reserve(account, 1 / NANO_PER_DOLLAR)
    assert reserve(account, 0.0).reserved_usd == 0.0


@pytest.mark.parametrize(
    ("limits", "arguments", "scope", "period"),
    [
        ({"home": SpendingLimit(usd_per_month=1.0)}, {}, "home", "month"),
        ({"answer": SpendingLimit(usd_per_day=1.0)}, {}, "purpose", "day"),
        ({"teacher": SpendingLimit(usd_per_month=1.0)}, {"purpose": "teacher"}, "purpose", "month"),
        ({}, {"key_limit": SpendingLimit(usd_per_day=1.0)}, "key", "day"),
    ],
)
def test_every_limit_is_named(
    create_account: Callable[..., SpendingAccount],
    limits: dict[str, SpendingLimit],
    arguments: dict[str, object],
    scope: str,
    period: str,
) -> None:
    account = create_account(**limits)
    spend(account, 0.7, **arguments)
    with pytest.raises(OverLimitError) as excinfo:
        reserve(account, 0.7, **arguments)
    error = excinfo.value
    assert (error.scope, error.period, error.limit_usd) == (scope, period, 1.0)
    assert (error.spent_usd, error.reserved_usd, error.is_temporary) == (0.7, 0.0, False)
    period_end = datetime(2026, 12, 1, tzinfo=UTC)
    assert error.resets_at == period_end
    assert error.retry_after_s == 12 * 3600
    assert "$1.00" in error.found
    assert "$0.70 spent" in error.found
    assert "2026-12-01 00:00 UTC" in str(error)


def test_keys_and_purposes_have_separate_limits(
    create_account: Callable[..., SpendingAccount],
) -> None:
    account = create_account(teacher=SpendingLimit(usd_per_month=1))
    key_limit = SpendingLimit(usd_per_day=0.5)
    spend(account, 0.5, key_limit=key_limit)
    with pytest.raises(OverLimitError, match="the key site has a limit"):
        reserve(account, 0.1, key_limit=key_limit)
    spend(account, 0.5, key="app", key_limit=key_limit)
    spend(account, 0.6, author="bob", purpose="teacher", key="")
    with pytest.raises(OverLimitError, match="the purpose teacher has a limit"):
        reserve(account, 0.5, author="cyd", purpose="teacher", key="")
    spend(account, 0.3, author="bob", purpose="label", key="")
    assert account.sum_spending(author="ada").usd == 1.0
    assert account.sum_spending(author="bob", purpose="label").usd == 0.3
    assert account.sum_spending(key="site", period="month") == AmountSpent(0.5, 0.0, 1)
    assert account.sum_spending().usd == 1.9


@pytest.mark.parametrize(
    "step_back", [timedelta(days=3), timedelta(days=40), timedelta(days=20_000)]
)
def test_setting_the_clock_back_grants_no_second_budget(
    create_account: Callable[..., SpendingAccount], clock: Clock, step_back: timedelta
) -> None:
    account = create_account(home=SpendingLimit(usd_per_day=1.0, usd_per_month=20.0))
    reservation = reserve(account, 0.4)
    spend(account, 0.6)
    clock.now = NOON - step_back
    with pytest.raises(OverLimitError):
        reserve(account, 0.1)
    assert account.remaining_usd(purpose="answer", author="ada", key="site") == 0.0
    account.settle(reservation, 0.2)
    assert account.sum_spending().usd == 0.8
    assert reserve(account, 0.2).day == NOON.date().isoformat()
    clock.now = NOON + timedelta(days=1)
    assert reserve(account, 1.0).day == clock.now.date().isoformat()


def test_spending_counts_on_the_day_of_the_reservation(
    create_account: Callable[..., SpendingAccount], clock: Clock
) -> None:
    """The reservation is made before midnight, at the end of a month, and settled after it."""
    account = create_account(home=SpendingLimit(usd_per_day=1.0, usd_per_month=1.5))
    clock.now = BEFORE_MIDNIGHT
    over_midnight = reserve(account, 1.0)
    clock.now = AFTER_MIDNIGHT
    today = reserve(account, 1.0)
    account.settle(over_midnight, 0.9)
    account.settle(today, 0.4)
    assert (
        account.sum_spending(as_of=BEFORE_MIDNIGHT).usd
        == account.sum_spending(as_of=BEFORE_MIDNIGHT, period="month").usd
        == 0.9
    )
    assert account.sum_spending().usd == account.sum_spending(period="month").usd == 0.4
    spend(account, 0.6)
    with pytest.raises(OverLimitError) as excinfo:
        reserve(account, 0.1)
    assert excinfo.value.resets_at == datetime(2026, 12, 2, tzinfo=UTC)
    clock.now = excinfo.value.resets_at
    spend(account, 0.5)
    with pytest.raises(OverLimitError) as excinfo:
        reserve(account, 0.1)
    assert (excinfo.value.period, excinfo.value.resets_at) == (
        "month",
        datetime(2027, 1, 1, tzinfo=UTC),
    )


def test_an_overdue_reservation_counts_in_full(
    create_account: Callable[..., SpendingAccount], clock: Clock
) -> None:
    account = create_account(home=SpendingLimit(usd_per_day=1.0))
    abandoned = reserve(account, 0.8)
    clock.now = datetime.fromtimestamp(clock() + RESERVATION_TIMEOUT_S + 1, UTC)
    assert account.sum_spending() == AmountSpent(0.8, 0.0, 1)
    with pytest.raises(OverLimitError):
        reserve(account, 0.3)
    spend(account, 0.1)
    assert account.sum_spending() == AmountSpent(0.9, 0.0, 2)
    account.settle(abandoned, 0.2)  # the process was only slow
    assert account.sum_spending() == AmountSpent(0.3, 0.0, 2)


def test_a_cost_above_the_reservation_counts_too(
    create_account: Callable[..., SpendingAccount],
) -> None:
    account = create_account(home=SpendingLimit(usd_per_day=1.0))
    account.settle(reserve(account, 0.4), 1.2)
    assert account.sum_spending().usd == 1.2
    assert account.remaining_usd(purpose="answer", author="ada") == 0.0


def test_concurrent_reservations_never_exceed_a_limit(state: State) -> None:
    account = SpendingAccount(state, SpendingLimits(home=SpendingLimit(usd_per_day=0.001)))
    start = threading.Barrier(12)
    refused_scopes: list[str] = []

    def spend_repeatedly(number: int) -> None:
        start.wait()
        for _ in range(4):
            try:
                reservation = reserve(account, 0.0001, key=f"k{number}")
            except OverLimitError as error:
                refused_scopes.append(error.scope)
            else:
                assert account.sum_spending().usd + account.sum_spending().reserved_usd <= 0.001
                account.settle(reservation, 0.00009)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(spend_repeatedly, range(12)))
    assert 10 <= account.sum_spending().requests <= 11
    assert account.sum_spending().requests + len(refused_scopes) == 48
    assert account.sum_spending().usd <= 0.001
    inspector = sa.inspect(state.engine)
    assert inspector.get_pk_constraint("account_requests")["constrained_columns"] == ["number"]


@hypothesis_settings(max_examples=25)
@given(
    requests=st.lists(
        st.tuples(
            st.floats(0, 0.5), st.floats(0, 1), st.sampled_from(["settle", "release", "abandon"]),
            st.floats(0, 40_000), st.sampled_from(["answer", "label"]),
        ),
        max_size=12,
    )
)  # fmt: skip
def test_no_sequence_of_requests_exceeds_a_daily_limit(
    requests: list[tuple[float, float, str, float, str]],
) -> None:
    """Costs are below the reservations, some requests are abandoned, and days pass between them."""
    state = State.open("sqlite://")
    clock = Clock(BEFORE_MIDNIGHT)
    limits = SpendingLimits(
        SpendingLimit(1.0, 1.6), {"answer": SpendingLimit(0.7), "label": SpendingLimit(0.7)}
    )
    account = SpendingAccount(state, limits, clock=clock)
    days: set[datetime] = set()
    expected_usd = 0.0
    for requested_usd, share, ending, pause_s, purpose in requests:
        days.add(clock.now)
        try:
            reservation = reserve(account, requested_usd, purpose=purpose)
        except OverLimitError:
            continue
        finally:
            clock.now = datetime.fromtimestamp(clock() + pause_s, UTC)
        if ending == "settle":
            account.settle(reservation, requested_usd * share)
            expected_usd += requested_usd * share
        elif ending == "release":
            account.release(reservation)
        else:
            expected_usd += requested_usd
    moments = (BEFORE_MIDNIGHT, AFTER_MIDNIGHT)
    months = [account.sum_spending(period="month", as_of=moment) for moment in moments]
    total = sum(month.usd + month.reserved_usd for month in months)
    assert total == pytest.approx(expected_usd, abs=1e-7)
    for day in days:
        spent = [
            account.sum_spending(as_of=day),
            account.sum_spending(as_of=day, purpose="answer"),
            account.sum_spending(as_of=day, purpose="label"),
        ]
        for amount, limit in zip(spent, (1.0, 0.7, 0.7), strict=True):
            assert amount.usd + amount.reserved_usd <= limit + 1e-9
    state.close()


@pytest.mark.parametrize("usd", [-0.1, float("nan"), float("inf")])
def test_an_invalid_amount_is_refused_before_a_write(
    create_account: Callable[..., SpendingAccount], state: State, usd: float
) -> None:
    account = create_account()
    with pytest.raises(ValueError, match="amount of money"):
        reserve(account, usd)
    reservation = reserve(account, 0.1)
    with pytest.raises(ValueError, match="amount of money"):
        account.settle(reservation, usd)
    with state.read_transaction() as connection:
        [deadline] = connection.execute(sa.select(paid_requests.c.deadline)).scalars().all()
    assert deadline is not None, "it is still open"


def test_limits_are_read_from_the_settings(home: Settings) -> None:
    values = {
        "paid_budget_per_day": 1.0, "teacher_budget_per_month": 2.0, "budget_per_day": 3.0,
        "budget_per_month": 4.0, "label_budget_per_month": 7.0, "judge_budget_per_month": 8.0,
    }  # fmt: skip
    limits = limits_from_settings(home.model_copy(update=values))
    assert limits.home == SpendingLimit(3.0, 4.0)
    assert limits.purposes == {
        "answer": SpendingLimit(1.0),
        "teacher": SpendingLimit(None, 2.0),
        "judge": SpendingLimit(None, 8.0),
        "label": SpendingLimit(None, 7.0),
    }


def test_anonymizing_an_author_keeps_the_sums(
    create_account: Callable[..., SpendingAccount], state: State
) -> None:
    account = create_account()
    spend(account, 0.2, author="")
    spend(account, 0.3)
    reserve(account, 0.1)
    with state.transaction() as connection:
        assert anonymize(connection, "author", "ada") == 2
    assert account.sum_spending(author="ada") == AmountSpent(0.0, 0.0, 0)
    assert account.sum_spending(author="") == AmountSpent(0.5, 0.1, 2)
    assert {row["key"] for row in account.list_spending()} == {"site"}


def test_the_requests_of_an_old_day_become_one_row(
    create_account: Callable[..., SpendingAccount], clock: Clock, state: State
) -> None:
    account, first_day = create_account(), clock.now
    for usd in (0.1, 0.2):
        spend(account, usd)
    abandoned = reserve(account, 0.3)
    account.release(reserve(account, 0.4))
    spend(account, 0.5, key="app")
    before = account.list_spending(as_of=first_day)
    clock.now = first_day + timedelta(days=DETAILED_DAYS)
    spend(account, 0.6)
    clock.now += timedelta(days=1)
    spend(account, 0.7)
    with state.read_transaction() as connection:
        count = sa.select(sa.func.count()).select_from(paid_requests)
        assert connection.execute(count).scalar() == 4, "two of the first day, and two later ones"
    [site, app] = account.list_spending(as_of=first_day)
    assert app == before[1]
    assert (site["nano"], site["reserved_nano"], site["requests"]) == (
        6 * NANO_PER_DOLLAR // 10, 0, 3,
    )  # fmt: skip
    with pytest.raises(TwinError, match="over a week ago"):
        account.settle(abandoned, 0.1)


def test_rows_are_sorted_by_spent_and_reserved_amount(
    create_account: Callable[..., SpendingAccount],
) -> None:
    account = create_account()
    for key, spent_usd, reserved_usd in (("a", 0.3, 0.0), ("b", 0.1, 0.5), ("c", 0.4, 0.0)):
        spend(account, spent_usd, key=key)
        if reserved_usd:
            reserve(account, reserved_usd, key=key)
    amounts = [(row["key"], row["nano"], row["reserved_nano"]) for row in account.list_spending()]
    assert amounts == [
        ("b", NANO_PER_DOLLAR // 10, NANO_PER_DOLLAR // 2),
        ("c", 4 * NANO_PER_DOLLAR // 10, 0),
        ("a", 3 * NANO_PER_DOLLAR // 10, 0),
    ]


@pytest.mark.parametrize(
    ("usd", "expected"),
    [(0, "$0.00"), (2, "$2.00"), (0.1, "$0.10"), (0.097, "$0.10"), (0.094, "$0.094"),
     (-0.05, "$-0.050"), (0.001, "$0.0010"), (0.0001, "$0.00010"),
     (0.000_000_15, "$0.00000015"), (0.000_000_001, "$0.000000001")],
)  # fmt: skip
def test_amounts_are_formatted_with_enough_digits(usd: float, expected: str) -> None:
    assert format_dollars(usd) == expected


def test_a_refusal_names_the_setting_of_its_limit(
    create_account: Callable[..., SpendingAccount], home: Settings
) -> None:
    day, month = SpendingLimit(usd_per_day=0.001), SpendingLimit(usd_per_month=0.001)
    for purpose, limit, setting in (
        ("answer", day, "TWIN_PAID_BUDGET_PER_DAY"),
        ("teacher", month, "TWIN_TEACHER_BUDGET_PER_MONTH"),
        ("judge", month, "TWIN_JUDGE_BUDGET_PER_MONTH"),
        ("label", month, "TWIN_LABEL_BUDGET_PER_MONTH"),
    ):
        with pytest.raises(OverLimitError, match=setting):
            reserve(create_account(**{purpose: limit}), 1.0, purpose=purpose)
        assert hasattr(home, setting.removeprefix("TWIN_").lower())
    with pytest.raises(OverLimitError, match="twin keys add --usd-per-day"):
        reserve(create_account(), 1.0, key_limit=day)


@pytest.mark.parametrize(
    ("requested_usd", "spent_usd", "reserved_usd", "next_step", "is_temporary"),
    [
        (2.0, 0.0, 0.0, "request a shorter answer, or raise this limit (TWIN_BUDGET", False),
        (1.0, 0.0, 0.5, "try again in a few seconds", True),
        (0.5, 0.5, 0.2, "try again in a few seconds", True),
        (0.6, 0.5, 0.0, "wait until 2026-12-01 00:00 UTC", False),
    ],
)
def test_the_next_step_depends_on_the_amounts(
    requested_usd: float, spent_usd: float, reserved_usd: float, next_step: str, is_temporary: bool
) -> None:
    error = OverLimitError(
        scope="home",
        name="",
        period="day",
        limit_usd=1.0,
        spent_usd=spent_usd,
        reserved_usd=reserved_usd,
        requested_usd=requested_usd,
        now=NOON,
    )
    assert error.next_step.startswith(next_step)
    assert (error.is_temporary, error.retry_after_s) == (is_temporary, 12 * 3600)
    assert error.resets_at == datetime(2026, 12, 1, tzinfo=UTC)
