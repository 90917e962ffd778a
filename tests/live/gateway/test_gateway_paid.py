"""Test that paid answers stay within their limits and that the account equals the bill.

A simulated provider with the price of the named model counts and charges independently, and fails
in the ways of a real provider.
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
from tests.live.gateway.stack import Stack, count_processed_tokens, new_stack, slow_down_provider
from tests.simulated_provider.paid_provider import RETRY_AFTER_S, PaidProvider
from tests.simulated_provider.provider_answers import WORDS, Behavior, read_bill
from twin_resources.access.account import NANO_PER_DOLLAR, SpendingAccount, open_account
from twin_resources.access.keys import KeyLimits, add_key, open_key_store
from twin_resources.access.paid_budget import answer_price_usd
from twin_resources.authors import read_author, write_author
from twin_resources.authors.guard_settings import Guards
from twin_resources.models.quotes.answer_text import split_prose
from twin_resources.processes.endpoints import Endpoints, write_endpoints
from twin_resources.registry.route_names import PAID
from twin_resources.storage.state.home_state import open_home_state

pytestmark = pytest.mark.live
MODEL = "openai/gpt-4o-mini"
BUDGET_USD = 1.0
BODY: dict[str, Any] = {
    "model": "twin/ann@paid",
    "messages": [{"role": "user", "content": "How much oil does a clock need?"}],
    "max_tokens": 5,
}


def build_body(failure: str, **fields: Any) -> dict[str, Any]:
    """Return a request whose question names a failure of the simulated provider."""
    messages = [{"role": "user", "content": f"How much oil? ({failure})"}]
    return BODY | {"messages": messages} | fields


class SpendingMeter:
    """Measures the changes of the provider's bill and of the account, in nano-dollars."""

    def __init__(self, stack: Stack, provider: PaidProvider) -> None:
        self.stack, self.provider = stack, provider
        self.billed_before = provider.bill.nano
        self.settled_before = self._settled_nano()

    def _account(self) -> SpendingAccount:
        settings = self.stack.settings.model_copy(update={"paid_budget_per_day": BUDGET_USD})
        return open_account(settings, open_home_state(settings))

    def _settled_nano(self) -> int:
        return sum(int(row["nano"]) for row in self._account().list_spending())

    def billed_nano(self) -> int:
        return self.provider.bill.nano - self.billed_before

    def settled_nano(self) -> int:
        """Wait until no call is open and return the settled amount."""
        self.stack.wait(lambda: self._account().sum_spending().reserved_usd == 0)
        return self._settled_nano() - self.settled_before

    def spend_remaining(self) -> None:
        """Spend the remaining budget of the day."""
        account = self._account()
        remaining_usd = BUDGET_USD - account.sum_spending().usd
        account.settle(
            account.reserve(purpose="answer", author="", key="", max_usd=remaining_usd),
            remaining_usd,
        )


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaidProvider]:
    bill = tmp_path_factory.mktemp("provider") / "bill.jsonl"
    paid_provider = PaidProvider(Behavior(token_s=0.02), bill)
    paid_provider.start()
    yield paid_provider
    paid_provider.end()


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory,
    gateway_weights: Path,
    tiny_gguf: Path,
    provider: PaidProvider,
) -> Iterator[Stack]:
    environ = {
        "TWIN_PAID_MODEL": MODEL,
        "TWIN_PAID_BUDGET_PER_DAY": str(BUDGET_USD),
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
def meter(stack: Stack, provider: PaidProvider) -> SpendingMeter:
    return SpendingMeter(stack, provider)


def disconnect_after_first_token(stack: Stack, body: dict[str, Any]) -> str:
    """Read the first token of a stream and disconnect."""
    with stack.stream(body) as answer:
        return next(line for line in answer.iter_lines() if '"content":"' in line)


def test_the_account_agrees_with_the_providers_bill(stack: Stack, meter: SpendingMeter) -> None:
    first = stack.post(BODY).json()
    usage = first["usage"]
    price = answer_price_usd(
        MODEL, prompt_tokens=usage["prompt_tokens"], answer_tokens=usage["completion_tokens"]
    )
    assert first["twin"]["version"] == "paid"
    assert first["twin"]["cost_usd"] == pytest.approx(price)
    assert '"version":"paid"' in stack.post(BODY | {"stream": True}).text
    assert meter.settled_nano() == meter.billed_nano() > 0


@pytest.mark.parametrize("stream", [False, True])
def test_refusals_of_the_provider_are_passed_on(
    stack: Stack, meter: SpendingMeter, *, stream: bool
) -> None:
    rate_limited = stack.post(build_body("429", stream=stream))
    error = rate_limited.json()["error"]
    assert (rate_limited.status_code, error["code"], error["type"]) == (
        429,
        "rate_limit_exceeded",
        "rate_limit_error",
    )
    assert rate_limited.headers["retry-after"] == str(RETRY_AFTER_S)
    assert "in 7 s" in error["message"]
    server_error = stack.post(build_body("500", stream=stream))
    assert (server_error.status_code, server_error.json()["error"]["code"]) == (
        503,
        "provider_failed",
    )
    for answer in (rate_limited, server_error):
        assert "litellm" not in answer.text.lower()
        assert "engine of this provider" not in answer.text, "the provider's own text is hidden"
    assert meter.settled_nano() == meter.billed_nano() == 0


def test_an_interrupted_stream_ends_with_an_error_and_the_end_mark(stack: Stack) -> None:
    text = stack.post(build_body("broken", stream=True, max_tokens=40)).text
    *_, error, end_mark = [line for line in text.splitlines() if line]
    assert end_mark == "data: [DONE]"
    error_fields = json.loads(error.removeprefix("data: "))["error"]
    assert (error_fields["code"], error_fields["type"]) == ("provider_failed", "server_error")
    assert "litellm" not in text.lower()
    logged_before = len(stack.read_whole_log("gateway"))
    body = build_body("broken", stream=True, max_tokens=40)
    # A stream that breaks off before its first event is a 503 with the same sentence.
    with pytest.raises(openai.APIError, match="The twin cannot answer right now; please try again"):
        list(stack.client().chat.completions.create(**body))
    logged = stack.read_whole_log("gateway")[logged_before:]
    assert "The provider of twin/ann@paid does not answer" in logged


def test_interrupted_streams_are_paid_for(stack: Stack, meter: SpendingMeter) -> None:
    """Six readers disconnect after a token; at most a few more tokens are paid for."""
    with ThreadPoolExecutor(6) as pool, slow_down_provider(meter.provider, 0.4):
        bodies = [build_body("long", stream=True, max_tokens=60)] * 6
        assert all(pool.map(lambda body: disconnect_after_first_token(stack, body), bodies))
        settled = meter.settled_nano()
        bill = meter.provider.bill.path
        stack.wait(lambda: read_bill(bill)[-6:][0]["outcome"] == "left")
    lines = read_bill(meter.provider.bill.path)[-6:]
    assert {line["outcome"] for line in lines} == {"left"}
    assert max(line["answer_tokens"] for line in lines) < 60, "the provider stopped early"
    # Tokens in transit are not counted: two per stream, $0.0000012.
    assert abs(settled - meter.billed_nano()) <= 6 * 2 * 600
    second_meter = SpendingMeter(stack, meter.provider)
    broken = stack.post(build_body("broken", stream=True, max_tokens=40))
    assert "error" in broken.text
    assert second_meter.settled_nano() == second_meter.billed_nano() > 0


def test_calls_of_unknown_cost_count_in_full(stack: Stack, meter: SpendingMeter) -> None:
    """The cost is unknown if the connection is cut before an answer, or the answer has no usage."""
    assert stack.post(build_body("cut")).status_code == 503
    assert stack.post(build_body("no usage")).json()["twin"]["cost_usd"] > 0
    settled = meter.settled_nano()
    assert meter.billed_nano() <= settled <= meter.billed_nano() + 2 * 5 * 600


def answer_only_in_prose(stack: Stack) -> None:
    """Let Ann answer only in prose, because this home has no posts to quote."""
    write_author(stack.settings, replace(read_author(stack.settings, "ann"), answer="voice"))


def test_a_repeated_request_is_paid_for_again(stack: Stack, meter: SpendingMeter) -> None:
    requests_before = meter.provider.bill.requests
    for _ in range(2):
        assert stack.post(BODY, **{"Idempotency-Key": "8f1d2c7e"}).status_code == 200
    assert meter.provider.bill.requests == requests_before + 2
    assert meter.settled_nano() == meter.billed_nano() > 0


def test_a_resumed_batch_pays_only_for_missing_answers(
    stack: Stack, meter: SpendingMeter, tmp_path: Path
) -> None:
    write_endpoints(
        Endpoints(
            home=str(stack.settings.home), dagster="", gateway=f"{stack.url}/v1",
            gateway_key=stack.key, models=(), traces="", traces_public_key="",
            traces_secret_key="", logs="", pids={},
        )
    )  # fmt: skip
    path, out = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    questions = {"a": "Oil? (1)", "b": "Oil? (2)", "fails": "Oil? (500)", "here": "Oil? (3)"}
    models = {"here": "twin/ann@base"}

    def run() -> subprocess.CompletedProcess[str]:
        lines = [
            {"id": name, "question": text, "model": models.get(name, "twin/ann@paid")}
            for name, text in questions.items()
        ]
        path.write_text("\n".join(map(json.dumps, lines)))
        return subprocess.run(
            [
                *(sys.executable, "-m", "twin_cli"),
                *("batch", str(path), "--out", str(out), "--author", "ann", "--width", "1"),
            ],
            env=os.environ | dict(stack.environ) | {"TWIN_HOME": str(stack.settings.home)},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    first_run = run()
    assert first_run.returncode == 1, first_run.stdout + first_run.stderr
    assert "run the same batch again" in first_run.stdout + first_run.stderr
    first_rows = list(map(json.loads, out.read_text().splitlines()))
    # The free last question may have been on its way when the third one failed; it is kept then.
    assert [row["id"] for row in first_rows] in (["a", "b"], ["a", "b", "here"])
    billed = meter.billed_nano()
    assert meter.settled_nano() == billed > 0
    questions["fails"] = "Oil? (4)"
    second_run = run()
    assert second_run.returncode == 0, second_run.stdout + second_run.stderr
    kept = f"{len(first_rows)} from an earlier run"
    assert kept in " ".join(second_run.stdout.split())
    all_rows = list(map(json.loads, out.read_text().splitlines()))
    assert all_rows[: len(first_rows)] == first_rows
    rows = {row["id"]: row for row in all_rows}
    assert len(rows) == len(all_rows) == 4
    paid_ids = ("a", "b", "fails")
    assert [rows[name]["route"] for name in (*paid_ids, "here")] == ["alias:paid"] * 3 + [
        "alias:base"
    ]
    assert all(row["answer"] for row in rows.values())
    assert meter.settled_nano() == meter.billed_nano() > billed
    reported_usd = sum(rows[name]["cost_usd"] for name in paid_ids)
    assert reported_usd == pytest.approx(meter.billed_nano() / NANO_PER_DOLLAR)


def test_guards_apply_to_every_api_and_stream(
    stack: Stack, meter: SpendingMeter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The author's block list contains every word of the simulated provider."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, stack.environ[name])
    words = Guards((("words", "answer", "mask"), ("words", "input", "off")), tuple(WORDS))
    author = read_author(stack.settings, "ann")
    chat = build_body("long", max_tokens=9)
    response = {"model": "twin/ann@paid", "input": "How much oil? (long)", "max_output_tokens": 9}
    completion = {"model": "twin/ann@paid", "prompt": "How much oil? (long)", "max_tokens": 9}
    client = stack.client()

    def ask_every_api() -> dict[str, str]:
        chunks = client.chat.completions.create(**chat, stream=True)
        events = client.responses.create(**response, stream=True)
        return {
            "chat": client.chat.completions.create(**chat).choices[0].message.content or "",
            "chat, stream": "".join(
                choice.delta.content or "" for chunk in chunks for choice in chunk.choices
            ),
            "responses": client.responses.create(**response).output_text,
            "responses, stream": "".join(
                event.delta for event in events if event.type == "response.output_text.delta"
            ),
            "completions": client.completions.create(**completion).choices[0].text,
        }

    assert not any("[…]" in text for text in ask_every_api().values())
    write_author(stack.settings, replace(author, guards=words))
    try:
        stack.wait(lambda: "[…]" in stack.post(chat).json()["choices"][0]["message"]["content"])
        texts = ask_every_api()
    finally:
        write_author(stack.settings, author)
    for api, text in texts.items():
        _, label, prose = split_prose(text)
        assert label == "Written by a program, not by Ann Bell", api
        assert "[…]" in prose, api
        assert not set(WORDS) & set(prose.split()), api
    assert meter.settled_nano() == meter.billed_nano() > 0


def test_two_gateways_and_a_kill_exceed_no_limit(stack: Stack, meter: SpendingMeter) -> None:
    """Two gateways get 24 concurrent paid questions with a key limit of $0.0001; one is killed."""
    limit_usd = 0.0001
    with closing(open_key_store(stack.settings)) as state:
        limits = KeyLimits(frozenset({PAID}), usd_per_day=limit_usd)
        key = add_key(state, role="site", authors=["*"], label="24 at once", limits=limits)
    second_gateway = Stack(
        stack.settings.model_copy(update={"gateway_port": free_port()}), stack.model, stack.environ
    )
    try:
        second_gateway.start_gateway()
        body = build_body("long", max_tokens=30)

        def ask(number: int) -> int | str:
            try:
                return (stack, second_gateway)[number % 2].post(body, key=key).status_code
            except httpx.TransportError as error:
                return type(error).__name__

        with ThreadPoolExecutor(24) as pool:
            futures = [pool.submit(ask, number) for number in range(24)]
            stack.wait(lambda: meter.provider.bill.requests and meter.billed_nano() > 0)
            second_gateway.worker().send_signal(signal.SIGKILL)
            results = [future.result() for future in futures]
    finally:
        second_gateway.stop()
    assert 429 in results
    # What the killed gateway had reserved and not sent may be spent by later questions.
    stack.wait(lambda: stack.post(body, key=key).status_code == 429)
    assert 0 < meter.billed_nano() <= limit_usd * NANO_PER_DOLLAR
    refusal = stack.post(body, key=key)
    assert (refusal.status_code, refusal.json()["error"]["code"]) == (429, "paid_budget_used_up")
    assert "the key " in refusal.json()["error"]["message"]


def test_the_paid_model_answers_until_the_budget_is_spent(
    stack: Stack, meter: SpendingMeter
) -> None:
    assert "twin/ann@paid" in [model.id for model in stack.client().models.list()]
    answer_only_in_prose(stack)
    stack.unlist("ann/v1")
    stack.release("ann", 1)
    stream_body = BODY | {"model": "twin/ann", "stream": True}
    # The gateway reads the policy within a second.
    stack.wait(lambda: '"route":"down:paid"' in stack.post(stream_body).text)
    meter.settled_nano()
    meter.spend_remaining()
    tokens_before = count_processed_tokens(stack.models["base"])
    refusal = stack.post(BODY)
    assert (refusal.status_code, refusal.json()["error"]["code"]) == (429, "paid_budget_used_up")
    assert "00:00 UTC" in refusal.json()["error"]["message"]
    assert int(refusal.headers["retry-after"]) > 2
    assert count_processed_tokens(stack.models["base"]) == tokens_before
    draft = stack.post(BODY | {"model": "twin/ann@voice"}).json()["twin"]
    assert draft["version"] == "base"  # v1 has no server in this test
    assert "paid, budget used up: answered by base" in draft["degraded"]


def test_only_the_paid_models_key_reaches_the_proxy(stack: Stack) -> None:
    environment = stack.worker().environ()
    assert "OPENAI_API_KEY" in environment
    assert "ANTHROPIC_API_KEY" not in environment
