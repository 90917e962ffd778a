"""The paid route: no cent above a limit, and the account says what the provider's bill says.

The paid API is the simulated provider, at the price of the named model: it counts and charges by
itself, and everything that can go wrong with a provider goes wrong.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.free_ports import free_port
from tests.live.gateway.stack import (
    Stack,
    new_stack,
    requests_of,
    slow_tokens,
)
from tests.simulated_provider.paid_provider import RETRY_AFTER_S, PaidProvider
from tests.simulated_provider.provider_answers import WORDS, Behaviour, read_bill
from twin_resources.access.account import SpendingAccount, open_account
from twin_resources.access.account_rows import NANO_PER_DOLLAR
from twin_resources.access.keys import KeyLimits, add_key, open_key_store
from twin_resources.access.paid_budget import answer_price_usd
from twin_resources.authors import read_author, write_author
from twin_resources.authors.guard_settings import Guards
from twin_resources.gateway.batches.answers import AnswerRow, Journal
from twin_resources.gateway.batches.completing import complete
from twin_resources.gateway.batches.questions import BatchQuestion
from twin_resources.processes.endpoints import Endpoints, write_endpoints
from twin_resources.registry.route_names import PAID
from twin_resources.storage.state.state import State

pytestmark = pytest.mark.live
MODEL = "openai/gpt-4o-mini"
BUDGET = 1.0
BODY: dict[str, Any] = {
    "model": "twin/ann@paid",
    "messages": [{"role": "user", "content": "How much oil does a clock need?"}],
    "max_tokens": 5,
}


def asking(how: str, **more: Any) -> dict[str, Any]:
    """A question whose answer goes the way that it names."""
    return BODY | {"messages": [{"role": "user", "content": f"How much oil? ({how})"}]} | more


class Money:
    """The provider's bill and the account, from a moment on, in nano-dollars."""

    def __init__(self, stack: Stack, provider: PaidProvider) -> None:
        self.stack, self.provider = stack, provider
        self.began = provider.bill.nano
        self.spent_before = self._spent()

    def _account(self) -> SpendingAccount:
        settings = self.stack.settings.model_copy(update={"paid_budget_per_day": BUDGET})
        return open_account(settings, State.open(settings.state_address))

    def _spent(self) -> int:
        return sum(int(row["nano"]) for row in self._account().rows())

    def billed(self) -> int:
        return self.provider.bill.nano - self.began

    def settled(self) -> int:
        """What the account holds once nothing is under way."""
        self.stack.wait(lambda: self._account().sum_spending().reserved_usd == 0)
        return self._spent() - self.spent_before

    def use_up(self) -> None:
        """Leave nothing of the day's budget."""
        account = self._account()
        rest = BUDGET - account.sum_spending().usd
        account.settle(account.reserve(purpose="answer", author="", key="", max_usd=rest), rest)


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaidProvider]:
    bill = tmp_path_factory.mktemp("provider") / "bill.jsonl"
    serving = PaidProvider(Behaviour(token_s=0.02), bill)
    serving.start()
    yield serving
    serving.end()


@pytest.fixture(scope="module")
def paid(
    tmp_path_factory: pytest.TempPathFactory,
    gateway_weights: Path,
    tiny_gguf: Path,
    provider: PaidProvider,
) -> Iterator[Stack]:
    environ = {
        "TWIN_PAID_MODEL": MODEL,
        "TWIN_PAID_BUDGET_PER_DAY": str(BUDGET),
        "OPENAI_API_KEY": "sk-of-the-provider",
        "OPENAI_BASE_URL": provider.url,
        "ANTHROPIC_API_KEY": "sk-ant-found-by-chance",
    }
    folder = tmp_path_factory.mktemp("paid")
    with new_stack(folder, gateway_weights, tiny_gguf, environ=environ) as stack:
        stack.start_model("base")
        stack.start_gateway()
        yield stack


@pytest.fixture
def money(paid: Stack, provider: PaidProvider) -> Money:
    return Money(paid, provider)


def leave(stack: Stack, body: dict[str, Any], **more: str) -> str:
    """Read the first token of a stream and go."""
    headers = {"Authorization": f"Bearer {stack.key}", **more}
    with httpx.stream(
        "POST", f"{stack.url}/v1/chat/completions", json=body, headers=headers, timeout=60,
        trust_env=False,
    ) as answer:  # fmt: skip
        return next(line for line in answer.iter_lines() if '"content":"' in line)


def test_the_account_says_what_the_bill_says(paid: Stack, money: Money) -> None:
    """Whole answers, streams, and what the provider refuses: to the nano-dollar."""
    first = paid.post(BODY).json()
    usage = first["usage"]
    price = answer_price_usd(
        MODEL, prompt_tokens=usage["prompt_tokens"], answer_tokens=usage["completion_tokens"]
    )
    assert first["twin"]["version"] == "paid"
    assert first["twin"]["cost_usd"] == pytest.approx(price)
    streamed = paid.post(BODY | {"stream": True})
    assert '"version":"paid"' in streamed.text
    assert money.settled() == money.billed() > 0


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_provider_refuses_is_told_as_it_is(
    paid: Stack, money: Money, *, stream: bool
) -> None:
    limited = paid.post(asking("429", stream=stream))
    error = limited.json()["error"]
    assert (limited.status_code, error["code"], error["type"]) == (
        429,
        "rate_limit_exceeded",
        "rate_limit_error",
    )
    assert limited.headers["retry-after"] == str(RETRY_AFTER_S)
    assert "in 7 s" in error["message"]
    failed = paid.post(asking("500", stream=stream))
    assert (failed.status_code, failed.json()["error"]["code"]) == (500, "provider_failed")
    for answer in (limited, failed):
        assert "litellm" not in answer.text.lower()
        assert "engine of this provider" not in answer.text, "the provider's own text"
    assert money.settled() == money.billed() == 0


def test_a_stream_that_breaks_off_ends_with_an_error_and_the_mark(paid: Stack) -> None:
    text = paid.post(asking("broken", stream=True, max_tokens=40)).text
    *_, error, mark = [line for line in text.splitlines() if line]
    assert mark == "data: [DONE]"
    told = json.loads(error.removeprefix("data: "))["error"]
    assert (told["code"], told["type"]) == ("provider_failed", "server_error")
    assert "litellm" not in text.lower()
    streamed = paid.client().chat.completions.create(**asking("broken", stream=True, max_tokens=40))
    with pytest.raises(openai.APIError, match="does not answer"):
        list(streamed)


def test_streams_that_are_left_or_break_off_are_paid_for(paid: Stack, money: Money) -> None:
    """Six readers leave after a token; the tokens that were under way then are at most a few."""
    with ThreadPoolExecutor(6) as pool, slow_tokens(money.provider, 0.4):
        bodies = [asking("long", stream=True, max_tokens=60)] * 6
        assert all(pool.map(lambda body: leave(paid, body), bodies))
        left = money.settled()
        bill = money.provider.bill.path
        paid.wait(lambda: read_bill(bill)[-6:][0]["outcome"] == "left")
    lines = read_bill(money.provider.bill.path)[-6:]
    assert {line["outcome"] for line in lines} == {"left"}
    assert max(line["answer_tokens"] for line in lines) < 60, "the work ended with the reader"
    # what left the provider and had not come yet: two tokens a stream, $0.0000012
    assert abs(left - money.billed()) <= 6 * 2 * 600
    again = Money(paid, money.provider)
    broken = paid.post(asking("broken", stream=True, max_tokens=40))
    assert "error" in broken.text
    assert again.settled() == again.billed() > 0


def test_what_nobody_can_know_counts_in_full(paid: Stack, money: Money) -> None:
    """A connection cut before an answer, and an answer without usage."""
    assert paid.post(asking("cut")).status_code == 503
    assert paid.post(asking("no usage")).json()["twin"]["cost_usd"] > 0
    settled = money.settled()
    assert money.billed() <= settled <= money.billed() + 2 * 5 * 600


def write_in_voice(paid: Stack) -> None:
    """Ann answers in prose alone: this home has no post of hers that could be quoted."""
    write_author(paid.settings, replace(read_author(paid.settings, "ann"), answer="voice"))


def test_a_request_that_is_sent_again_is_paid_for_once(paid: Stack, money: Money) -> None:
    once = {"Idempotency-Key": "8f1d2c7e"}
    first, again = paid.post(BODY, **once), paid.post(BODY, **once)
    assert first.status_code == 200
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["x-twin-trace-id"] == first.headers["x-twin-trace-id"]
    other = paid.post(BODY | {"max_tokens": 6}, **once)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    # a stream whose reader leaves goes on, and is there when he comes back
    bought = money.provider.bill.requests
    stream = asking("long", stream=True, max_tokens=30)
    came = {"Idempotency-Key": "second"}
    with slow_tokens(money.provider, 0.5):  # asked for each token: the rest is fast again
        leave(paid, stream, **came)
        in_flight = paid.post(stream, **came)
    assert (in_flight.status_code, in_flight.headers["retry-after"]) == (409, "2")
    paid.wait(lambda: paid.post(stream, **came).status_code == 200)
    assert paid.post(stream, **came).text.count('"content":"') == 30
    assert money.provider.bill.requests == bought + 1
    assert money.settled() == money.billed() > 0


def test_a_batch_is_paid_as_single_answers_are_and_goes_on_for_what_failed(
    paid: Stack, money: Money, tmp_path: Path
) -> None:
    write_endpoints(
        Endpoints(
            home=str(paid.settings.home), dagster="", gateway=f"{paid.url}/v1",
            gateway_key=paid.key, models=(), traces="", traces_public_key="",
            traces_secret_key="", logs="", pids={},
        )
    )  # fmt: skip
    path, out = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    asked = {"a": "Oil? (1)", "b": "Oil? (2)", "fails": "Oil? (500)", "here": "Oil? (3)"}
    models = {"here": "twin/ann@base"}

    def run() -> subprocess.CompletedProcess[str]:
        lines = [
            {"id": name, "question": text, "model": models.get(name, "twin/ann@paid")}
            for name, text in asked.items()
        ]
        path.write_text("\n".join(map(json.dumps, lines)))
        return subprocess.run(
            [
                *(sys.executable, "-m", "twin_cli"),
                *("batch", str(path), "--out", str(out), "--author", "ann", "--width", "1"),
            ],
            env=os.environ | dict(paid.environ) | {"TWIN_HOME": str(paid.settings.home)},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    stopped = run()
    assert stopped.returncode == 1, stopped.stdout + stopped.stderr
    assert "run the same batch again" in stopped.stdout + stopped.stderr
    assert not out.exists()
    paid_for = money.billed()
    assert money.settled() == paid_for > 0
    asked["fails"] = "Oil? (4)"
    again = run()
    assert again.returncode == 0, again.stdout + again.stderr
    assert "2 kept from an earlier run" in " ".join(again.stdout.split())
    rows = {row["id"]: row for row in map(json.loads, out.read_text().splitlines())}
    bought = ("a", "b", "fails")
    assert [rows[name]["route"] for name in (*bought, "here")] == ["alias:paid"] * 3 + [
        "alias:base"
    ]
    assert all(row["answer"] for row in rows.values())
    assert money.settled() == money.billed() > paid_for
    told = sum(rows[name]["cost_usd"] for name in bought)
    assert told == pytest.approx(money.billed() / NANO_PER_DOLLAR)


def test_guards_hold_on_every_api_whole_and_by_stream_and_in_a_batch(
    paid: Stack, money: Money, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every word that the provider can say stands in the author's block list."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, paid.environ[name])
    words = Guards((("words", "answer", "mask"), ("words", "input", "off")), tuple(WORDS))
    author = read_author(paid.settings, "ann")
    chat = asking("long", max_tokens=9)
    response = {"model": "twin/ann@paid", "input": "How much oil? (long)", "max_output_tokens": 9}
    completion = {"model": "twin/ann@paid", "prompt": "How much oil? (long)", "max_tokens": 9}
    client = paid.client()

    def said() -> dict[str, str]:
        chunks = client.chat.completions.create(**chat, stream=True)
        events = client.responses.create(**response, stream=True)
        return {
            "chat": client.chat.completions.create(**chat).choices[0].message.content or "",
            "chat, stream": "".join(
                part.delta.content or "" for chunk in chunks for part in chunk.choices
            ),
            "responses": client.responses.create(**response).output_text,
            "responses, stream": "".join(
                event.delta for event in events if event.type == "response.output_text.delta"
            ),
            "completions": client.completions.create(**completion).choices[0].text,
        }

    assert not any("[…]" in text for text in said().values())
    write_author(paid.settings, replace(author, guards=words))
    try:
        paid.wait(lambda: "[…]" in paid.post(chat).json()["choices"][0]["message"]["content"])
        found = said()
        journal = Journal(tmp_path / "answers.jsonl")
        question = BatchQuestion("1", tuple(chat["messages"]), "", {"max_tokens": 9})
        rows: list[AnswerRow] = []
        complete(
            [question], journal, url=f"{paid.url}/v1", key=paid.key, model="twin/ann@paid",
            on_row=lambda _, row: rows.append(row),
        )  # fmt: skip
        journal.close()
        [found["batch"]] = (str(row["answer"]) for row in rows)
    finally:
        write_author(paid.settings, author)
    for api, text in found.items():
        assert "[…]" in text, api
        assert not set(WORDS) & set(text.split()), api
    assert money.settled() == money.billed() > 0


def test_a_key_s_requests_a_minute_are_held_by_the_gateway(paid: Stack) -> None:
    with closing(open_key_store(paid.settings)) as state:
        limits = KeyLimits(per_minute=2, at_once=1)
        key = add_key(state, role="reader", authors=["ann"], label="two", limits=limits)
    body = BODY | {"model": "twin/ann@base"}
    assert [paid.post(body, key=key).status_code for _ in range(2)] == [200, 200]
    refused = paid.post(body, key=key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "key_rate_limited")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert "twin/ann@paid" not in [model.id for model in paid.client(key).models.list()]
    assert paid.post(BODY, key=key).status_code == 403
    assert key not in paid.log("gateway")


def test_two_gateways_and_a_kill_pass_no_limit(paid: Stack, money: Money) -> None:
    """24 paid questions at once on $0.0001 of one key, over two gateways, one killed."""
    limit = 0.0001
    with closing(open_key_store(paid.settings)) as state:
        limits = KeyLimits(frozenset({PAID}), usd_per_day=limit)
        key = add_key(state, role="site", authors=["*"], label="24 at once", limits=limits)
    other = Stack(
        paid.settings.model_copy(update={"gateway_port": free_port()}), paid.model, paid.environ
    )
    try:
        other.start_gateway()
        body = asking("long", max_tokens=30)

        def ask(number: int) -> int | str:
            try:
                return (paid, other)[number % 2].post(body, key=key).status_code
            except httpx.TransportError as error:
                return type(error).__name__

        with ThreadPoolExecutor(24) as pool:
            work = [pool.submit(ask, number) for number in range(24)]
            paid.wait(lambda: money.provider.bill.requests and money.billed() > 0)
            other.worker().send_signal(signal.SIGKILL)
            found = [one.result() for one in work]
    finally:
        other.stop()
    assert 0 < money.billed() <= limit * NANO_PER_DOLLAR
    assert 429 in found
    refused = paid.post(body, key=key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "paid_budget_used_up")
    assert "of the key" in refused.json()["error"]["message"]


def test_the_paid_model_answers_until_the_budget_is_used_up(paid: Stack, money: Money) -> None:
    assert "twin/ann@paid" in [model.id for model in paid.client().models.list()]
    write_in_voice(paid)
    paid.unlist("ann/v1")
    paid.release("ann", 1)
    streamed = BODY | {"model": "twin/ann", "stream": True}
    # the gateway follows the policy within a second, and nothing here says when it has
    paid.wait(lambda: '"route":"down:paid"' in paid.post(streamed).text)
    money.settled()
    money.use_up()
    before = requests_of(paid.models["base"])
    refused = paid.post(BODY)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "paid_budget_used_up")
    assert "00:00 UTC" in refused.json()["error"]["message"]
    assert int(refused.headers["retry-after"]) > 2
    assert requests_of(paid.models["base"]) == before
    draft = paid.post(BODY | {"model": "twin/ann@voice"}).json()["twin"]
    assert draft["version"] == "base"  # v1 has no server here, and base is asked for a draft
    assert "paid, budget used up: answered by base" in draft["degraded"]


def test_only_the_paid_models_key_reaches_the_proxy(paid: Stack) -> None:
    environment = paid.worker().environ()
    assert "OPENAI_API_KEY" in environment
    assert "ANTHROPIC_API_KEY" not in environment
