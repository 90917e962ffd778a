"""What a paid call costs, whichever way it ends: prices of LiteLLM's map, a real store."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from tests.simulated_provider.paid_provider import PaidProvider
from tests.simulated_provider.provider_answers import Behaviour, read_bill
from twin_resources.access import paid_budget
from twin_resources.access.account import SpendingAccount
from twin_resources.access.keys import Key, KeyLimits
from twin_resources.access.paid_budget import PaidBudget, PaidCall, count_tokens, max_prompt_tokens
from twin_resources.access.refusals import RefusedError
from twin_resources.access.spending_limits import SpendingLimit, SpendingLimits
from twin_resources.errors import TwinError
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State

MODEL = "openai/gpt-4o-mini"
PROMPT_USD, ANSWER_USD = 150e-9, 600e-9
KEY = Key("r", "site", frozenset({"*"}), "my site", "k1", KeyLimits(usd_per_day=0.01))
MESSAGES = [{"role": "user", "content": "How much oil does a clock need?"}]


@pytest.fixture
def account(home: Settings) -> Iterator[SpendingAccount]:
    state = State.open(home.state_address)
    yield SpendingAccount(state, SpendingLimits(home=SpendingLimit(usd_per_day=1.0)))
    state.close()


@pytest.fixture
def budget(account: SpendingAccount) -> PaidBudget:
    return PaidBudget(account, model=MODEL)


def buy(budget: PaidBudget, *, max_tokens: int = 20, key: Key = KEY) -> PaidCall:
    return asyncio.run(budget.reserve(key, "ann", MESSAGES, max_tokens=max_tokens))


def spent(budget: PaidBudget) -> float:
    budget.flush()
    found = budget.account.sum_spending(key="k1", author="ann", purpose="answer")
    assert found.reserved_usd == 0
    return found.usd


def usage(prompt: int, answer: int, **more: Any) -> Any:
    return SimpleNamespace(prompt_tokens=prompt, completion_tokens=answer, **more)


def test_the_most_is_reserved_and_what_the_provider_counts_is_settled(budget: PaidBudget) -> None:
    call = buy(budget)
    most = (count_tokens(MESSAGES) + 3) * PROMPT_USD + 20 * ANSWER_USD
    assert budget.account.sum_spending().reserved_usd == pytest.approx(most, abs=1e-9)
    assert call.settle_answer(_litellm_usage(14, 9)) == pytest.approx(
        14 * PROMPT_USD + 9 * ANSWER_USD
    )
    assert call.settle_answer(_litellm_usage(1400, 900)) == call.usd, "the first end counts"
    assert call.settle_interrupted() == call.usd
    assert spent(budget) == pytest.approx(call.usd or 0, abs=1e-9)


def test_cached_tokens_are_cheaper(budget: PaidBudget) -> None:
    details = {"cached_tokens": 1000}
    cached = buy(budget).settle_answer(_litellm_usage(2000, 0, prompt_tokens_details=details))
    assert cached == pytest.approx(1500 * PROMPT_USD)


def test_a_stream_that_is_left_costs_the_tokens_that_had_come(budget: PaidBudget) -> None:
    call = buy(budget)
    for piece in (" One", " drop", " of oil, and no more"):
        call.record_text(piece)
    tokens = 8  # the last piece has six
    expected = count_tokens(MESSAGES) * PROMPT_USD + tokens * ANSWER_USD
    assert call.settle_interrupted() == pytest.approx(expected)
    ended_here = buy(budget)
    ended_here.record_text(" One")
    assert ended_here.settle_answer(None) == pytest.approx(
        count_tokens(MESSAGES) * PROMPT_USD + ANSWER_USD
    )
    assert spent(budget) == pytest.approx((call.usd or 0) + (ended_here.usd or 0), abs=1e-9)


def test_what_nobody_counted_costs_the_most(budget: PaidBudget) -> None:
    most = buy(budget).reservation.reserved_usd
    assert buy(budget).settle_answer(usage(0, 0), "One drop.") == most
    assert buy(budget).settle_answer(None, "One drop.") == most
    assert buy(budget).settle_interrupted() == most


def test_a_stream_without_a_word_costs_its_prompt(budget: PaidBudget) -> None:
    prompt = pytest.approx(count_tokens(MESSAGES) * PROMPT_USD)
    assert buy(budget).settle_answer(None) == prompt
    assert buy(budget).settle_empty() == prompt
    call = buy(budget)
    call.record_text(" One")
    assert call.settle_empty() == pytest.approx(count_tokens(MESSAGES) * PROMPT_USD + ANSWER_USD)


@pytest.mark.parametrize("stream", [False, True])
def test_a_usage_that_cannot_be_is_not_believed(budget: PaidBudget, *, stream: bool) -> None:
    """1 + 1 tokens for a long question and a long answer; half as many may be another tokenizer."""
    text = "One drop of a light oil, and no more."
    tokens = count_tokens([{"role": "assistant", "content": text}]) - count_tokens(
        [{"role": "assistant", "content": ""}]
    )

    def ended(prompt: int, answer: int) -> float:
        call = buy(budget)
        if stream:
            call.record_text(text)
        return call.settle_answer(_litellm_usage(prompt, answer), "" if stream else text)

    ours = count_tokens(MESSAGES) * PROMPT_USD + tokens * ANSWER_USD
    assert ended(1, 1) == pytest.approx(ours)
    half = (count_tokens(MESSAGES) + 1) // 2, (tokens + 1) // 2
    assert ended(*half) == pytest.approx(half[0] * PROMPT_USD + half[1] * ANSWER_USD)


def caused(error: Exception, cause: Exception | None = None) -> Exception:
    error.__cause__ = cause
    return error


REQUEST = httpx.Request("POST", "http://provider")


@pytest.mark.parametrize(
    ("error", "is_billed"),
    [
        (caused(RuntimeError("500"), httpx.ConnectError("refused")), False),
        (
            caused(
                RuntimeError("500"),
                httpx.HTTPStatusError("", request=REQUEST, response=httpx.Response(500)),
            ),
            False,
        ),
        (caused(RuntimeError("500"), httpx.ReadError("cut")), True),
        (caused(RuntimeError("late"), httpx.ReadTimeout("late")), True),
        (RuntimeError("nobody knows"), True),
    ],
)
def test_only_what_a_provider_certainly_did_not_compute_is_free(
    budget: PaidBudget, error: Exception, is_billed: bool
) -> None:
    call = buy(budget)
    assert call.settle_failed(error) == (call.reservation.reserved_usd if is_billed else 0.0)


def test_a_refusal_by_status_is_free_but_no_time_out(budget: PaidBudget) -> None:
    refused: Any = RuntimeError("429")
    refused.status_code = 429
    late: Any = RuntimeError("408")
    late.status_code = 408
    assert buy(budget).settle_failed(refused) == 0.0
    assert buy(budget).settle_failed(late) > 0.0
    begun = buy(budget)
    begun.record_text(" One")
    assert begun.settle_failed(refused) > 0.0, "what had come before is paid for"


def test_a_key_at_its_limit_is_told_which(budget: PaidBudget) -> None:
    poor = Key("r", "site", frozenset({"*"}), "poor", "k2", KeyLimits(usd_per_day=0.000_001))
    with pytest.raises(RefusedError) as caught:
        buy(budget, key=poor)
    error = caught.value
    assert (error.status, error.code) == (429, "paid_budget_used_up")
    assert "of the key k2" in error.found
    assert "without @paid" in error.next_step
    assert (error.retry_after_s or 0) > 2
    assert budget.unavailable_reason(KEY, "ann") == ""
    budget.account.settle(
        budget.account.reserve(purpose="answer", author="bob", key="", max_usd=1.0), 1.0
    )
    assert budget.unavailable_reason(KEY, "ann") == "budget used up"


LATE = datetime(2026, 11, 29, 23, 59, 50, tzinfo=UTC)
A_DAY, A_CENT = 86_400.0, 0.01


@dataclass
class Clock:
    """A clock that stands until it is set."""

    now: datetime

    def __call__(self) -> float:
        return self.now.timestamp()


@pytest.mark.parametrize(
    ("limits", "left", "seconds"),
    [
        (SpendingLimits(), None, None),
        (SpendingLimits(purposes={"teacher": SpendingLimit(usd_per_month=0.0)}), None, None),
        (SpendingLimits(purposes={"answer": SpendingLimit(usd_per_day=0.2)}), 0.19, 10.0),
        (SpendingLimits(home=SpendingLimit(usd_per_month=3.0)), 2.98, A_DAY + 10),
        # the month leaves more, and has to last for longer
        (SpendingLimits(home=SpendingLimit(0.2, 3.0)), 2.98, A_DAY + 10),
        (SpendingLimits(author=SpendingLimit(0.02, 300.0)), 0.01, 10.0),
        (SpendingLimits(home=SpendingLimit(1.0, 0.02), author=SpendingLimit(0.2)), 0.0, A_DAY + 10),
    ],
)
def test_the_router_sees_the_limit_that_allows_the_slowest_spending(
    home: Settings, limits: SpendingLimits, left: float | None, seconds: float | None
) -> None:
    with contextlib.closing(State.open(home.state_address)) as state:
        clock = Clock(LATE)
        account = SpendingAccount(state, limits, clock=clock)
        budget = PaidBudget(account, model=MODEL)
        free = SpendingAccount(state, SpendingLimits(), clock=clock)
        for back in (timedelta(days=1), timedelta()):  # a cent on the day before, one today
            clock.now = LATE - back
            paid = free.reserve(purpose="answer", author="ann", key="", max_usd=A_CENT)
            free.settle(paid, A_CENT)
        found = budget.remaining_budget("ann")
        assert (found is None) == (left is None)
        if found is not None:
            assert (found.remaining_usd, found.seconds_left) == (pytest.approx(left), seconds)


def test_the_routers_money_begins_anew_at_midnight_and_what_is_reserved_counts(
    home: Settings,
) -> None:
    limits = SpendingLimits(purposes={"answer": SpendingLimit(usd_per_day=0.03)})
    with contextlib.closing(State.open(home.state_address)) as state:
        clock = Clock(LATE)
        account = SpendingAccount(state, limits, clock=clock)
        budget = PaidBudget(account, model=MODEL)
        account.reserve(purpose="answer", author="ann", key="", max_usd=A_CENT)
        before = budget.remaining_budget("ann")
        clock.now = LATE + timedelta(seconds=10)
        after = budget.remaining_budget("ann")
    assert before is not None
    assert after is not None
    assert (before.remaining_usd, before.seconds_left) == (pytest.approx(0.02), 10.0)
    assert (after.remaining_usd, after.seconds_left) == (pytest.approx(0.03), A_DAY)


def test_an_account_that_cannot_be_written_buys_nothing(budget: PaidBudget, home: Settings) -> None:
    with State.open(home.state_address).transaction() as connection:
        connection.execute(sa.text("DROP TABLE account_reservations"))
    with pytest.raises(RefusedError) as caught:
        buy(budget)
    assert (caught.value.status, caught.value.code) == (503, "budget_unreadable")
    assert budget.unavailable_reason(KEY, "ann") == "budget unreadable (OperationalError)"
    assert budget.remaining_budget("ann") is None


async def test_a_reader_who_leaves_while_it_is_reserved_costs_nothing(
    budget: PaidBudget, account: SpendingAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go_on = threading.Event(), threading.Event()
    reserve = account.reserve

    def slow(**asked: Any) -> Any:
        inside.set()
        assert go_on.wait(10)
        return reserve(**asked)

    monkeypatch.setattr(account, "reserve", slow)
    work = asyncio.create_task(budget.reserve(KEY, "ann", MESSAGES, max_tokens=20))
    await asyncio.to_thread(inside.wait, 10)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    go_on.set()
    for _ in range(200):
        await asyncio.sleep(0.01)
        with account._state.read_transaction() as connection:
            statuses = connection.execute(
                sa.text("SELECT status FROM account_reservations")
            ).scalars()
            if list(statuses) == ["released"]:
                break
    assert account.sum_spending().usd == account.sum_spending().reserved_usd == 0


def test_other_tokenizers_are_bounded_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LITELLM_LOCAL_MODEL_COST_MAP", raising=False)
    paid_budget._litellm.cache_clear()
    counted = count_tokens(MESSAGES)
    assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "True", "or it would ask GitHub"
    assert max_prompt_tokens(MODEL, MESSAGES) == counted + 3
    claude = max_prompt_tokens("anthropic/claude-3-5-haiku-20241022", MESSAGES)
    assert claude == min(len(MESSAGES[0]["content"]), 2 * counted) + 64


def test_a_model_without_a_price_has_no_budget(account: SpendingAccount) -> None:
    with pytest.raises(TwinError, match="price map"):
        PaidBudget(account, model="openai/no-such-model-at-all")


def _litellm_usage(prompt: int, answer: int, **more: Any) -> Any:
    from litellm import Usage

    return Usage(
        prompt_tokens=prompt, completion_tokens=answer, total_tokens=prompt + answer, **more
    )


def test_the_simulated_provider_counts_and_charges_by_itself(tmp_path: Path) -> None:
    """And as the gateway does: prompts with control tokens in them too."""
    behaviour = Behaviour(latency_s=0.0, token_s=0.0, rates={"429": 1.0}, seed=3)
    provider = PaidProvider(behaviour, tmp_path / "bill.jsonl")
    odd = [{"role": "user", "content": "Hi<|im_end|> ünïcode 時計 <|endoftext|>" * 7}]
    assert provider.tokens(odd) == count_tokens(odd)
    provider.start()
    try:
        ask = {"messages": MESSAGES, "max_tokens": 4}
        request = urllib.request.Request(
            f"{provider.url}/chat/completions", json.dumps(ask).encode(), method="POST"
        )
        with pytest.raises(urllib.error.HTTPError, match="429"):
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)
        answer = httpx.post(
            f"{provider.url}/chat/completions",
            json=ask | {"messages": [{"role": "user", "content": "(long)"}]},
            trust_env=False,
        ).json()
    finally:
        provider.end()
    refused, whole = read_bill(tmp_path / "bill.jsonl")
    assert (refused["outcome"], refused["nano"]) == ("429", 0)
    used = answer["usage"]
    assert whole["answer_tokens"] == used["completion_tokens"] == 4
    assert whole["nano"] == used["prompt_tokens"] * 150 + 4 * 600 == provider.bill.nano


def test_a_provider_that_reads_answers_from_its_prompt_where_that_helps(tmp_path: Path) -> None:
    provider = PaidProvider(Behaviour(reads=True), tmp_path / "bill.jsonl")
    passages = (
        "From my posts:\n\n[1] Oil (undated)\nEvery pivot wants a single drop.\n\n"
        "[2] Brass (undated)\nClean engraved brass with lemon and patience.\n\n"
    )

    def said(question: str, allowed: int = 60) -> list[str]:
        return provider.read([{"role": "user", "content": passages + question}], allowed)

    asked = "Question: Which lemon cleans engraved brass with patience?"
    assert "".join(said(asked)) == "Clean engraved brass with lemon and patience."
    assert said(asked, 3) == said(asked)[:3]
    assert all(provider.count(piece) == 1 for piece in said(asked))
    empty = said("Question: Good morning to you!")
    assert "".join(empty) not in passages
    assert said("Question: Good morning to you!") == empty


def test_the_simulated_provider_holds_to_a_schema_and_charges_for_what_it_says(
    tmp_path: Path,
) -> None:
    provider = PaidProvider(Behaviour(latency_s=0.0), tmp_path / "bill.jsonl")
    provider.start()
    scale = {"properties": {"rating": {"type": "integer", "enum": [1, 2, 3]}}}
    body = {
        "messages": MESSAGES,
        "max_tokens": 40,
        "response_format": {"type": "json_schema", "json_schema": {"schema": scale}},
    }
    request = urllib.request.Request(
        f"{provider.url}/chat/completions", json.dumps(body).encode(), method="POST"
    )
    with urllib.request.urlopen(request) as reply:
        document = json.load(reply)
    provider.end()
    assert json.loads(document["choices"][0]["message"]["content"])["rating"] in {1, 2, 3}
    [line] = read_bill(tmp_path / "bill.jsonl")
    assert line["answer_tokens"] == document["usage"]["completion_tokens"] > 0
