"""Test what a paid call costs for each way it can end, with the prices of LiteLLM."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from litellm import Usage

from tests.unit.gateway.test_account import Clock
from twin_resources.access import paid_budget
from twin_resources.access.account import SpendingAccount
from twin_resources.access.keys import Key, KeyLimits
from twin_resources.access.paid_budget import PaidBudget, PaidCall, count_tokens, max_prompt_tokens
from twin_resources.access.refusals import RefusedError
from twin_resources.access.spending_limits import SpendingLimit, SpendingLimits
from twin_resources.errors import TwinError
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state

MODEL = "openai/gpt-4o-mini"
PROMPT_USD, ANSWER_USD = 150e-9, 600e-9
KEY = Key("r", "site", frozenset({"*"}), "my site", "k1", KeyLimits(usd_per_day=0.01))
MESSAGES = [{"role": "user", "content": "How much oil does a clock need?"}]


@pytest.fixture
def account(home: Settings) -> Iterator[SpendingAccount]:
    state = open_home_state(home)
    yield SpendingAccount(state, SpendingLimits(home=SpendingLimit(usd_per_day=1.0)))
    state.close()


@pytest.fixture
def budget(account: SpendingAccount) -> PaidBudget:
    return PaidBudget(account, model=MODEL)


def reserve_call(budget: PaidBudget, *, max_tokens: int = 20, key: Key = KEY) -> PaidCall:
    return asyncio.run(budget.reserve(key, "ann", MESSAGES, max_tokens=max_tokens))


def sum_settled_usd(budget: PaidBudget) -> float:
    budget.flush()
    spending = budget.account.sum_spending(key="k1", author="ann", purpose="answer")
    assert spending.reserved_usd == 0
    return spending.usd


def make_usage(prompt: int, answer: int, **details: Any) -> Usage:
    return Usage(
        prompt_tokens=prompt, completion_tokens=answer, total_tokens=prompt + answer, **details
    )


def test_the_maximum_is_reserved_and_the_counted_tokens_are_settled(budget: PaidBudget) -> None:
    call = reserve_call(budget)
    max_usd = (count_tokens(MESSAGES) + 3) * PROMPT_USD + 20 * ANSWER_USD
    assert budget.account.sum_spending().reserved_usd == pytest.approx(max_usd, abs=1e-9)
    assert call.settle_answer(make_usage(14, 9)) == pytest.approx(14 * PROMPT_USD + 9 * ANSWER_USD)
    assert call.settle_answer(make_usage(1400, 900)) == call.usd, "the first settlement counts"
    assert call.settle_interrupted() == call.usd
    assert sum_settled_usd(budget) == pytest.approx(call.usd or 0, abs=1e-9)


def test_cached_tokens_are_cheaper(budget: PaidBudget) -> None:
    details = {"cached_tokens": 1000}
    cached = reserve_call(budget).settle_answer(make_usage(2000, 0, prompt_tokens_details=details))
    assert cached == pytest.approx(1500 * PROMPT_USD)


def test_an_interrupted_stream_costs_the_received_tokens(budget: PaidBudget) -> None:
    call = reserve_call(budget)
    for text in (" One", " drop", " of oil, and no more"):
        call.record_text(text)
    tokens = 8  # The last text has six.
    expected = count_tokens(MESSAGES) * PROMPT_USD + tokens * ANSWER_USD
    assert call.settle_interrupted() == pytest.approx(expected)
    ended_early = reserve_call(budget)
    ended_early.record_text(" One")
    assert ended_early.settle_answer(None) == pytest.approx(
        count_tokens(MESSAGES) * PROMPT_USD + ANSWER_USD
    )
    assert sum_settled_usd(budget) == pytest.approx(
        (call.usd or 0) + (ended_early.usd or 0), abs=1e-9
    )


def test_uncounted_tokens_cost_the_reserved_maximum(budget: PaidBudget) -> None:
    max_usd = reserve_call(budget).reservation.reserved_usd
    assert reserve_call(budget).settle_answer(make_usage(0, 0), "One drop.") == max_usd
    assert reserve_call(budget).settle_answer(None, "One drop.") == max_usd
    assert reserve_call(budget).settle_interrupted() == max_usd


def test_an_empty_stream_costs_its_prompt(budget: PaidBudget) -> None:
    prompt_usd = pytest.approx(count_tokens(MESSAGES) * PROMPT_USD)
    assert reserve_call(budget).settle_answer(None) == prompt_usd
    assert reserve_call(budget).settle_empty() == prompt_usd
    call = reserve_call(budget)
    call.record_text(" One")
    assert call.settle_empty() == pytest.approx(count_tokens(MESSAGES) * PROMPT_USD + ANSWER_USD)


@pytest.mark.long
@pytest.mark.parametrize("stream", [False, True])
def test_an_implausible_usage_is_replaced_by_an_estimate(
    budget: PaidBudget, *, stream: bool
) -> None:
    """Another tokenizer may count half of the expected tokens, but never just one."""
    text = "One drop of a light oil, and no more."
    empty = count_tokens([{"role": "assistant", "content": ""}])
    tokens = count_tokens([{"role": "assistant", "content": text}]) - empty

    def settle_answer(prompt: int, answer: int) -> float:
        call = reserve_call(budget)
        if stream:
            call.record_text(text)
        return call.settle_answer(make_usage(prompt, answer), "" if stream else text)

    estimated_usd = count_tokens(MESSAGES) * PROMPT_USD + tokens * ANSWER_USD
    assert settle_answer(1, 1) == pytest.approx(estimated_usd)
    half_tokens = (count_tokens(MESSAGES) + 1) // 2, (tokens + 1) // 2
    assert settle_answer(*half_tokens) == pytest.approx(
        half_tokens[0] * PROMPT_USD + half_tokens[1] * ANSWER_USD
    )


def set_cause(error: Exception, cause: Exception | None = None) -> Exception:
    error.__cause__ = cause
    return error


REQUEST = httpx.Request("POST", "http://provider")


@pytest.mark.parametrize(
    ("error", "is_billed"),
    [
        (set_cause(RuntimeError("500"), httpx.ConnectError("refused")), False),
        (
            set_cause(
                RuntimeError("500"),
                httpx.HTTPStatusError("", request=REQUEST, response=httpx.Response(500)),
            ),
            False,
        ),
        (set_cause(RuntimeError("500"), httpx.ReadError("cut")), True),
        (set_cause(RuntimeError("late"), httpx.ReadTimeout("late")), True),
        (RuntimeError("unknown"), True),
    ],
)
def test_a_failed_call_is_free_only_if_the_provider_computed_nothing(
    budget: PaidBudget, error: Exception, is_billed: bool
) -> None:
    call = reserve_call(budget)
    assert call.settle_failed(error) == (call.reservation.reserved_usd if is_billed else 0.0)


def test_a_rate_limited_call_is_free_but_a_timeout_is_not(budget: PaidBudget) -> None:
    rate_limited: Any = RuntimeError("429")
    rate_limited.status_code = 429
    timed_out: Any = RuntimeError("408")
    timed_out.status_code = 408
    assert reserve_call(budget).settle_failed(rate_limited) == 0.0
    assert reserve_call(budget).settle_failed(timed_out) > 0.0
    started = reserve_call(budget)
    started.record_text(" One")
    assert started.settle_failed(rate_limited) > 0.0, "the received text is paid for"


def test_the_refusal_names_the_limit_that_is_reached(budget: PaidBudget) -> None:
    limited_key = Key("r", "site", frozenset({"*"}), "poor", "k2", KeyLimits(usd_per_day=0.000_001))
    with pytest.raises(RefusedError) as excinfo:
        reserve_call(budget, key=limited_key)
    error = excinfo.value
    assert (error.status, error.code) == (429, "paid_budget_used_up")
    assert "the key k2 has a limit" in str(error)
    assert "without @paid" in str(error)
    assert (error.retry_after_s or 0) > 2
    assert budget.unavailable_reason(KEY, "ann") == ""
    budget.account.settle(
        budget.account.reserve(purpose="answer", author="bob", key="", max_usd=1.0), 1.0
    )
    assert budget.unavailable_reason(KEY, "ann") == "budget used up"


BEFORE_MIDNIGHT = datetime(2026, 11, 29, 23, 59, 50, tzinfo=UTC)
DAY_S, CENT_USD = 86_400.0, 0.01


@pytest.mark.parametrize(
    ("limits", "left_usd", "seconds"),
    [
        (SpendingLimits(), None, None),
        (SpendingLimits(purposes={"teacher": SpendingLimit(usd_per_month=0.0)}), None, None),
        (SpendingLimits(purposes={"answer": SpendingLimit(usd_per_day=0.2)}), 0.19, 10.0),
        (SpendingLimits(home=SpendingLimit(usd_per_month=3.0)), 2.98, DAY_S + 10),
        # The month has more left but must last longer.
        (SpendingLimits(home=SpendingLimit(0.2, 3.0)), 2.98, DAY_S + 10),
        (SpendingLimits(home=SpendingLimit(0.02, 300.0)), 0.01, 10.0),
        (SpendingLimits(SpendingLimit(1.0, 0.02), {"answer": SpendingLimit(0.2)}), 0.0, DAY_S + 10),
    ],
)
def test_the_remaining_budget_is_that_of_the_tightest_limit(
    home: Settings, limits: SpendingLimits, left_usd: float | None, seconds: float | None
) -> None:
    with contextlib.closing(open_home_state(home)) as state:
        clock = Clock(BEFORE_MIDNIGHT)
        account = SpendingAccount(state, limits, clock=clock)
        budget = PaidBudget(account, model=MODEL)
        unlimited_account = SpendingAccount(state, SpendingLimits(), clock=clock)
        for time_back in (timedelta(days=1), timedelta()):  # one cent on each of the two days
            clock.now = BEFORE_MIDNIGHT - time_back
            reservation = unlimited_account.reserve(
                purpose="answer", author="ann", key="", max_usd=CENT_USD
            )
            unlimited_account.settle(reservation, CENT_USD)
        remaining = budget.remaining_budget("ann")
        assert (remaining is None) == (left_usd is None)
        if remaining is not None:
            assert (remaining.remaining_usd, remaining.seconds_left) == (
                pytest.approx(left_usd),
                seconds,
            )


def test_the_remaining_budget_excludes_reservations_and_resets_at_midnight(home: Settings) -> None:
    limits = SpendingLimits(purposes={"answer": SpendingLimit(usd_per_day=0.03)})
    with contextlib.closing(open_home_state(home)) as state:
        clock = Clock(BEFORE_MIDNIGHT)
        account = SpendingAccount(state, limits, clock=clock)
        budget = PaidBudget(account, model=MODEL)
        account.reserve(purpose="answer", author="ann", key="", max_usd=CENT_USD)
        before = budget.remaining_budget("ann")
        clock.now = BEFORE_MIDNIGHT + timedelta(seconds=10)
        after = budget.remaining_budget("ann")
    assert before is not None
    assert after is not None
    assert (before.remaining_usd, before.seconds_left) == (pytest.approx(0.02), 10.0)
    assert (after.remaining_usd, after.seconds_left) == (pytest.approx(0.03), DAY_S)


def test_no_call_is_paid_if_the_account_cannot_be_written(
    budget: PaidBudget, home: Settings
) -> None:
    with open_home_state(home).transaction() as connection:
        connection.execute(sa.text("DROP TABLE account_requests"))
    with pytest.raises(RefusedError) as excinfo:
        reserve_call(budget)
    assert (excinfo.value.status, excinfo.value.code) == (503, "budget_unreadable")
    assert budget.unavailable_reason(KEY, "ann") == "budget unreadable (OperationalError)"
    assert budget.remaining_budget("ann") is None


async def test_a_cancelled_reservation_is_released(
    budget: PaidBudget, account: SpendingAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_reserving, may_continue = threading.Event(), threading.Event()
    reserve = account.reserve

    def reserve_slowly(**arguments: Any) -> Any:
        is_reserving.set()
        assert may_continue.wait(10)
        return reserve(**arguments)

    monkeypatch.setattr(account, "reserve", reserve_slowly)
    task = asyncio.create_task(budget.reserve(KEY, "ann", MESSAGES, max_tokens=20))
    await asyncio.to_thread(is_reserving.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_continue.set()
    for _ in range(200):
        await asyncio.sleep(0.01)
        with account._state.read_transaction() as connection:
            counts = connection.execute(sa.text("SELECT requests FROM account_requests")).scalars()
            if list(counts) == [0]:
                break
    assert account.sum_spending().usd == account.sum_spending().reserved_usd == 0


def test_prompt_tokens_of_other_tokenizers_are_bounded_by_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LITELLM_LOCAL_MODEL_COST_MAP", raising=False)
    paid_budget._import_litellm.cache_clear()
    token_count = count_tokens(MESSAGES)
    assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "True", (
        "otherwise LiteLLM would download it from GitHub"
    )
    assert max_prompt_tokens(MODEL, MESSAGES) == token_count + 3
    max_tokens = max_prompt_tokens("anthropic/claude-3-5-haiku-20241022", MESSAGES)
    assert max_tokens == min(len(MESSAGES[0]["content"]), 2 * token_count) + 64


def test_a_model_without_a_known_price_is_refused(account: SpendingAccount) -> None:
    with pytest.raises(TwinError, match="price map"):
        PaidBudget(account, model="openai/no-such-model-at-all")
