"""The account: no limit is passed, nothing is lost, at midnight and at a month's end (SQLite)."""

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
    DEADLINE_S,
    AmountSpent,
    Reservation,
    SpendingAccount,
    open_account,
)
from twin_resources.access.account_rows import NANO_PER_DOLLAR, anonymize, reservations
from twin_resources.access.spending_limits import (
    OverLimitError,
    SpendingLimit,
    SpendingLimits,
    format_dollars,
    limits_from_settings,
)
from twin_resources.errors import TwinError
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
LATE = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)  # of the month's last day
NEXT = datetime(2026, 12, 1, 0, 0, 1, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that stands until it is set."""

    now: datetime = NOON

    def __call__(self) -> float:
        return self.now.timestamp()


@pytest.fixture
def state(home: Settings) -> Iterator[State]:
    opened = State.open(home.state_address)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(state: State, clock: Clock) -> Callable[..., SpendingAccount]:
    def build(**limits: SpendingLimit) -> SpendingAccount:
        purposes = {name: limit for name, limit in limits.items() if name not in {"home", "author"}}
        named = {name: limit for name, limit in limits.items() if name in {"home", "author"}}
        return SpendingAccount(state, SpendingLimits(**named, purposes=purposes), clock=clock)  # type: ignore[arg-type]

    return build


def paid(account: SpendingAccount, usd: float, **named: object) -> Reservation:
    """Reserve, for an answer of Ada's twin unless another is named."""
    asked = {"purpose": "answer", "author": "ada", "key": "site", "max_usd": usd}
    return account.reserve(**asked | named)  # type: ignore[arg-type]


def spend(account: SpendingAccount, usd: float, **named: object) -> None:
    account.settle(paid(account, usd, **named), usd)


def test_what_is_reserved_counts_until_it_is_settled(
    opened: Callable[..., SpendingAccount],
) -> None:
    account = opened(home=SpendingLimit(usd_per_day=1.0))
    first = paid(account, 0.6)
    assert account.sum_spending() == AmountSpent(0.0, 0.6, 0)
    with pytest.raises(OverLimitError) as caught:
        paid(account, 0.5)
    error = caught.value
    assert (error.scope, error.period, error.spent_usd, error.reserved_usd) == (
        "home", "day", 0.0, 0.6,
    )  # fmt: skip
    assert error.is_temporary
    assert "a few seconds" in error.next_step
    account.settle(first, 0.1)
    assert account.sum_spending() == AmountSpent(0.1, 0.0, 1)
    second = paid(account, 0.5)
    account.release(second)
    assert account.sum_spending() == AmountSpent(0.1, 0.0, 1), "what was never sent is no request"
    account.settle(first, 0.9)
    account.release(first)
    assert account.sum_spending().usd == 0.1, "the first settlement counts"


def test_sums_do_not_drift_and_a_limit_is_reached_to_the_nano_dollar(
    opened: Callable[..., SpendingAccount],
) -> None:
    account = opened(home=SpendingLimit(usd_per_day=0.3))
    for _ in range(3):
        spend(account, 0.1)
    assert account.sum_spending().usd == 0.3
    with pytest.raises(OverLimitError):
        paid(account, 1 / NANO_PER_DOLLAR)
    assert paid(account, 0.0).reserved_usd == 0.0


@pytest.mark.parametrize(
    ("limits", "asked", "scope", "period"),
    [
        ({"home": SpendingLimit(usd_per_month=1.0)}, {}, "home", "month"),
        ({"author": SpendingLimit(usd_per_day=1.0)}, {}, "author", "day"),
        ({"answer": SpendingLimit(usd_per_day=1.0)}, {}, "purpose", "day"),
        ({"teacher": SpendingLimit(usd_per_month=1.0)}, {"purpose": "teacher"}, "purpose", "month"),
        ({}, {"key_limit": SpendingLimit(usd_per_day=1.0)}, "key", "day"),
    ],
)
def test_every_limit_is_named(
    opened: Callable[..., SpendingAccount],
    limits: dict[str, SpendingLimit],
    asked: dict[str, object],
    scope: str,
    period: str,
) -> None:
    account = opened(**limits)
    spend(account, 0.7, **asked)
    with pytest.raises(OverLimitError) as caught:
        paid(account, 0.7, **asked)
    error = caught.value
    assert (error.scope, error.period, error.limit_usd) == (scope, period, 1.0)
    assert (error.spent_usd, error.reserved_usd, error.is_temporary) == (0.7, 0.0, False)
    until = datetime(2026, 12, 1, tzinfo=UTC)
    assert error.resets_at == until
    assert error.retry_after_s == 12 * 3600
    assert "$1.00" in error.found
    assert "$0.70 spent" in error.found
    assert "2026-12-01 00:00 UTC" in str(error)


def test_two_authors_two_keys_and_four_purposes_have_their_own(
    opened: Callable[..., SpendingAccount],
) -> None:
    account = opened(author=SpendingLimit(usd_per_day=1.0), teacher=SpendingLimit(usd_per_month=1))
    mine = SpendingLimit(usd_per_day=0.5)
    spend(account, 0.5, key_limit=mine)
    with pytest.raises(OverLimitError, match="of the key site"):
        paid(account, 0.1, key_limit=mine)
    spend(account, 0.5, key="app", key_limit=mine)
    with pytest.raises(OverLimitError, match="of the author ada"):
        paid(account, 0.1, key="app2")
    with pytest.raises(OverLimitError, match="of the author ada"):
        paid(account, 0.1, purpose="judge", key="")
    spend(account, 0.6, author="bob", purpose="teacher", key="")
    with pytest.raises(OverLimitError, match="of the purpose teacher"):
        paid(account, 0.5, author="cyd", purpose="teacher", key="")
    spend(account, 0.3, author="bob", purpose="label", key="")
    assert account.sum_spending(author="ada").usd == 1.0
    assert account.sum_spending(author="bob", purpose="label").usd == 0.3
    assert account.sum_spending(key="site", period="month") == AmountSpent(0.5, 0.0, 1)
    assert account.sum_spending().usd == 1.9


@pytest.mark.parametrize("back", [timedelta(days=3), timedelta(days=40), timedelta(days=20_000)])
def test_a_clock_that_goes_back_opens_no_budget_again(
    opened: Callable[..., SpendingAccount], clock: Clock, back: timedelta
) -> None:
    account = opened(home=SpendingLimit(usd_per_day=1.0, usd_per_month=20.0))
    held = paid(account, 0.4)
    spend(account, 0.6)
    clock.now = NOON - back
    with pytest.raises(OverLimitError):
        paid(account, 0.1)
    assert account.remaining_usd(purpose="answer", author="ada", key="site") == 0.0
    assert account.exhausted_limit(purpose="answer", author="ada", key="site") != ""
    account.settle(held, 0.2)
    assert account.sum_spending().usd == 0.8
    assert paid(account, 0.2).day == NOON.date().isoformat()
    clock.now = NOON + timedelta(days=1)
    assert paid(account, 1.0).day == clock.now.date().isoformat()


def test_the_day_of_the_reservation_pays(
    opened: Callable[..., SpendingAccount], clock: Clock
) -> None:
    """Over midnight and a month's end: neither day's limit is passed, and none of it is lost."""
    account = opened(home=SpendingLimit(usd_per_day=1.0, usd_per_month=1.5))
    clock.now = LATE
    over_midnight = paid(account, 1.0)
    clock.now = NEXT
    today = paid(account, 1.0)
    account.settle(over_midnight, 0.9)
    account.settle(today, 0.4)
    assert (
        account.sum_spending(as_of=LATE).usd
        == account.sum_spending(as_of=LATE, period="month").usd
        == 0.9
    )
    assert account.sum_spending().usd == account.sum_spending(period="month").usd == 0.4
    spend(account, 0.6)
    with pytest.raises(OverLimitError) as caught:
        paid(account, 0.1)
    assert caught.value.resets_at == datetime(2026, 12, 2, tzinfo=UTC)
    clock.now = caught.value.resets_at
    spend(account, 0.5)
    with pytest.raises(OverLimitError) as caught:
        paid(account, 0.1)
    assert (caught.value.period, caught.value.resets_at) == (
        "month",
        datetime(2027, 1, 1, tzinfo=UTC),
    )


def test_a_reservation_whose_process_died_counts_in_full(
    opened: Callable[..., SpendingAccount], clock: Clock
) -> None:
    account = opened(home=SpendingLimit(usd_per_day=1.0))
    dead = paid(account, 0.8)
    clock.now = datetime.fromtimestamp(clock() + DEADLINE_S + 1, UTC)
    assert account.sum_spending() == AmountSpent(0.0, 0.8, 0), "whoever only reads sees it as well"
    with pytest.raises(OverLimitError):
        paid(account, 0.3)
    spend(account, 0.1)
    assert account.sum_spending() == AmountSpent(0.9, 0.0, 2)
    account.settle(dead, 0.2)  # it was only slow
    assert account.sum_spending() == AmountSpent(0.3, 0.0, 2)


def test_more_than_was_reserved_is_spent_as_well(opened: Callable[..., SpendingAccount]) -> None:
    account = opened(home=SpendingLimit(usd_per_day=1.0))
    account.settle(paid(account, 0.4), 1.2)
    assert account.sum_spending().usd == 1.2
    assert account.exhausted_limit(purpose="answer", author="ada", key="") == (
        "limit a day of the home used up"
    )


def test_an_idempotency_key_reserves_once(
    opened: Callable[..., SpendingAccount], clock: Clock
) -> None:
    account = opened()
    first = paid(account, 0.4, idempotency_key="q1")
    again = paid(account, 0.4, idempotency_key="q1")
    assert (again.number, again.is_new, again.settled_usd) == (first.number, False, None)
    assert paid(account, 0.4, idempotency_key="q1", key="other").is_new
    account.settle(again, 0.3)
    seen = paid(account, 0.4, idempotency_key="q1")
    assert (seen.is_new, seen.settled_usd) == (False, 0.3)
    assert account.sum_spending(key="site") == AmountSpent(0.3, 0.0, 1)
    never_sent = paid(account, 0.4, idempotency_key="q2")
    account.release(never_sent)
    assert paid(account, 0.4, idempotency_key="q2").is_new
    clock.now = datetime(2026, 12, 9, tzinfo=UTC)
    assert paid(account, 0.4, idempotency_key="q1").is_new, "a week later it is forgotten"
    with pytest.raises(TwinError, match="no reservation has this number"):
        account.settle(first, 0.1)


def test_many_at_once_never_pass_a_limit(state: State) -> None:
    """Twelve threads, each in a hurry; the most that is held at any moment is the limit."""
    account = SpendingAccount(state, SpendingLimits(home=SpendingLimit(usd_per_day=0.001)))
    start = threading.Barrier(12)
    refused: list[str] = []

    def ask(number: int) -> None:
        start.wait()
        for _ in range(4):
            try:
                held = paid(account, 0.0001, key=f"k{number}")
            except OverLimitError as error:
                refused.append(error.scope)
            else:
                assert account.sum_spending().usd + account.sum_spending().reserved_usd <= 0.001
                account.settle(held, 0.00009)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(ask, range(12)))
    assert 10 <= account.sum_spending().requests <= 11
    assert account.sum_spending().requests + len(refused) == 48
    assert account.sum_spending().usd <= 0.001
    known = sa.inspect(state.engine)
    one_row = {"account_spending": ["day", "purpose", "author", "key"]}
    one_row["account_reservations"] = ["number"]
    assert {
        name: known.get_pk_constraint(name)["constrained_columns"] for name in one_row
    } == one_row


@hypothesis_settings(max_examples=25)
@given(
    moves=st.lists(
        st.tuples(
            st.floats(0, 0.5), st.floats(0, 1), st.sampled_from(["settle", "release", "die"]),
            st.floats(0, 40_000), st.sampled_from(["ada", "bob"]),
        ),
        max_size=12,
    )
)  # fmt: skip
def test_whatever_happens_the_days_stay_under_their_limits(
    moves: list[tuple[float, float, str, float, str]],
) -> None:
    """Costs up to what was reserved, deaths, and a clock that goes on for days."""
    state = State.open("sqlite://")
    clock = Clock(LATE)
    limits = SpendingLimits(SpendingLimit(1.0, 1.6), SpendingLimit(0.7))
    account = SpendingAccount(state, limits, clock=clock)
    days: set[datetime] = set()
    due = 0.0
    for most, share, how, later_s, author in moves:
        days.add(clock.now)
        try:
            held = paid(account, most, author=author)
        except OverLimitError:
            continue
        finally:
            clock.now = datetime.fromtimestamp(clock() + later_s, UTC)
        if how == "settle":
            account.settle(held, most * share)
            due += most * share
        elif how == "release":
            account.release(held)
        else:
            due += most
    total = sum(account.sum_spending(period="month", as_of=at).usd for at in (LATE, NEXT))
    total += sum(account.sum_spending(period="month", as_of=at).reserved_usd for at in (LATE, NEXT))
    assert total == pytest.approx(due, abs=1e-7)
    for day in days:
        for author, limit in ((None, 1.0), ("ada", 0.7), ("bob", 0.7)):
            found = account.sum_spending(as_of=day, author=author)
            assert found.usd + found.reserved_usd <= limit + 1e-9
    state.close()


@pytest.mark.parametrize("usd", [-0.1, float("nan"), float("inf")])
def test_no_amount_is_refused_before_anything_is_written(
    opened: Callable[..., SpendingAccount], state: State, usd: float
) -> None:
    account = opened()
    with pytest.raises(ValueError, match="amount of money"):
        paid(account, usd)
    held = paid(account, 0.1)
    with pytest.raises(ValueError, match="amount of money"):
        account.settle(held, usd)
    with state.read_transaction() as connection:
        assert connection.execute(sa.select(reservations.c.status)).scalars().all() == ["open"]


def test_a_request_that_alone_is_over_the_limit_is_not_told_to_wait(
    opened: Callable[..., SpendingAccount],
) -> None:
    with pytest.raises(OverLimitError) as caught:
        paid(opened(home=SpendingLimit(usd_per_day=0.001)), 0.002)
    assert caught.value.next_step == (
        "request a shorter answer, or raise this limit (TWIN_BUDGET_PER_DAY)"
    )
    assert "$0.0010 a day" in caught.value.found


def test_what_the_two_earlier_accounts_held_still_counts(state: State, home: Settings) -> None:
    today = datetime.now(UTC).date().isoformat()
    with state.transaction() as connection:
        connection.execute(sa.text("CREATE TABLE paid_spending (day VARCHAR(10), usd DOUBLE)"))
        connection.execute(sa.text(f"INSERT INTO paid_spending VALUES ('{today}', 0.25)"))
        connection.execute(sa.text("CREATE TABLE teacher_spending (month VARCHAR(7), usd DOUBLE)"))
        connection.execute(sa.text(f"INSERT INTO teacher_spending VALUES ('{today[:7]}', 0.5)"))
    for _ in range(2):  # the second opening finds nothing to take over
        account = open_account(home, state)
        assert account.sum_spending(purpose="answer").usd == 0.25
        assert account.sum_spending(purpose="teacher", period="month").usd == 0.5


def test_the_settings_name_the_limits(home: Settings) -> None:
    values = {
        "paid_budget_per_day": 1.0, "teacher_budget_per_month": 2.0, "budget_per_day": 3.0,
        "budget_per_month": 4.0, "author_budget_per_day": 5.0, "author_budget_per_month": 6.0,
        "label_budget_per_month": 7.0, "judge_budget_per_month": 8.0,
    }  # fmt: skip
    limits = limits_from_settings(home.model_copy(update=values))
    assert (limits.home, limits.author) == (SpendingLimit(3.0, 4.0), SpendingLimit(5.0, 6.0))
    assert limits.purposes == {
        "answer": SpendingLimit(1.0),
        "teacher": SpendingLimit(None, 2.0),
        "judge": SpendingLimit(None, 8.0),
        "label": SpendingLimit(None, 7.0),
    }


def test_a_forgotten_author_leaves_the_sums(
    opened: Callable[..., SpendingAccount], state: State
) -> None:
    account = opened()
    spend(account, 0.2, author="")
    spend(account, 0.3, idempotency_key="ada's question")
    paid(account, 0.1)
    with state.transaction() as connection:
        assert anonymize(connection, "author", "ada") == 3
    assert account.sum_spending(author="ada") == AmountSpent(0.0, 0.0, 0)
    assert account.sum_spending(author="") == AmountSpent(0.5, 0.1, 2)
    assert {row["key"] for row in account.rows()} == {"site"}


def test_rows_begin_with_what_is_dearest_spent_or_held(
    opened: Callable[..., SpendingAccount],
) -> None:
    account = opened()
    for key, spent, held in (("a", 0.3, 0.0), ("b", 0.1, 0.5), ("c", 0.4, 0.0)):
        spend(account, spent, key=key)
        if held:
            paid(account, held, key=key)
    found = [(row["key"], row["nano"], row["reserved_nano"]) for row in account.rows()]
    billion = 1_000_000_000
    assert found == [
        ("b", billion // 10, billion // 2),
        ("c", 4 * billion // 10, 0),
        ("a", 3 * billion // 10, 0),
    ]


@pytest.mark.parametrize(
    ("usd", "shown"),
    [(0, "$0.00"), (2, "$2.00"), (0.1, "$0.10"), (0.097, "$0.10"), (0.094, "$0.094"),
     (-0.05, "$-0.050"), (0.001, "$0.0010"), (0.0001, "$0.00010"),
     (0.000_000_15, "$0.00000015"), (0.000_000_001, "$0.000000001")],
)  # fmt: skip
def test_a_small_amount_is_shown(usd: float, shown: str) -> None:
    assert format_dollars(usd) == shown


def test_a_refusal_says_where_its_limit_is_set(
    opened: Callable[..., SpendingAccount], home: Settings
) -> None:
    day, month = SpendingLimit(usd_per_day=0.001), SpendingLimit(usd_per_month=0.001)
    for purpose, limit, setting in (
        ("answer", day, "TWIN_PAID_BUDGET_PER_DAY"),
        ("teacher", month, "TWIN_TEACHER_BUDGET_PER_MONTH"),
        ("judge", month, "TWIN_JUDGE_BUDGET_PER_MONTH"),
        ("label", month, "TWIN_LABEL_BUDGET_PER_MONTH"),
    ):
        with pytest.raises(OverLimitError, match=setting):
            paid(opened(**{purpose: limit}), 1.0, purpose=purpose)
        assert hasattr(home, setting.removeprefix("TWIN_").lower())
    with pytest.raises(OverLimitError, match="twin keys add --usd-per-day"):
        paid(opened(), 1.0, key_limit=day)


@pytest.mark.parametrize(
    ("most", "spent", "reserved", "advice", "passing"),
    [
        (2.0, 0.0, 0.0, "request a shorter answer", False),
        (1.0, 0.0, 0.5, "try again in a few seconds", True),
        (0.5, 0.5, 0.2, "try again in a few seconds", True),
        (0.6, 0.5, 0.0, "wait until 2026-12-01 00:00 UTC", False),
    ],
)
def test_a_refusal_says_what_helps(
    most: float, spent: float, reserved: float, advice: str, passing: bool
) -> None:
    refused = OverLimitError(
        scope="home",
        name="",
        period="day",
        limit_usd=1.0,
        spent_usd=spent,
        reserved_usd=reserved,
        requested_usd=most,
        now=NOON,
    )
    assert refused.next_step.startswith(advice)
    assert (refused.is_temporary, refused.retry_after_s) == (passing, 12 * 3600)
    assert refused.resets_at == datetime(2026, 12, 1, tzinfo=UTC)
