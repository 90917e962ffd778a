"""One author's questions between the own model and a paid one, from the first key to the last cent.

Readers ask, labels are bought of what they asked and scored by the author's certified judges, a
policy is fitted, the gateways that run follow it, readers ask on in every way, and everything goes
wrong that can. The paid model is the simulated provider: its bill is what the account is held
against.

The short form has 70 labels at a margin of .1 and two gateways: at .03 nothing can be shown with
fewer than 179 labels. The long form has 300 at .03, four gateways, four times the questions.
The tests are steps of one story and stand in its order; each fixture of the module is a step.
"""

from __future__ import annotations

import io
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import polars as pl
import pytest
from rich.console import Console
from twin_cli.commands.answer_history import explain, explanation_tree
from twin_cli.commands.routing_command import preview_routing, routing_summary

from tests.free_ports import free_port
from tests.live.gateway.clock_home import AUTHOR, BASE, about_clocks, prepare_home, small_talk
from tests.live.gateway.market import TWIN, Form, Market
from tests.live.gateway.stack import Stack, new_stack, slow_tokens
from tests.simulated_provider.paid_provider import PaidProvider
from tests.simulated_provider.provider_answers import Behaviour, read_bill
from twin_assets.feedback.interactions import interactions
from twin_assets.partitions import authors
from twin_assets.serving.routing_labels import routing_labels
from twin_assets.serving.routing_policy import routing_policy
from twin_resources.access.account_rows import NANO_PER_DOLLAR
from twin_resources.authors import read_author
from twin_resources.models.embedder.embedder import load_embedder
from twin_resources.registry.route_names import PAID
from twin_resources.router.policy_file import policy_path, read_routing_policy
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables

pytestmark = pytest.mark.live
MODEL = "openai/gpt-4o-mini"
PROMPT_NANO, TOKEN_NANO = 150, 600  # of a token of a prompt, of an answer
# The day's budget of the home is far above what is spent: else the pace of the money, and not the
# policy, would choose.
BUDGET = 10_000.0


SHORT = Form(labels=70, margin=0.1, gateways=2, questions=11)
LONG = Form(labels=300, margin=0.03, gateways=4, questions=44)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(SHORT, id="short"),
        pytest.param(LONG, id="long", marks=pytest.mark.long),
    ],
)
def market(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    gateway_weights: Path,
    tiny_gguf: Path,
) -> Iterator[Market]:
    """Keys are made, the gateways run, nothing is known yet."""
    form: Form = request.param
    folder = tmp_path_factory.mktemp("market")
    provider = PaidProvider(
        Behaviour(latency_s=0.005, token_s=0.01, reads=True), folder / "bill.jsonl"
    )
    provider.start()
    environ = {
        "TWIN_BASE_MODEL": BASE,
        "TWIN_PAID_MODEL": MODEL,
        "TWIN_PAID_BUDGET_PER_DAY": str(BUDGET),
        "TWIN_BUDGET_PER_DAY": str(BUDGET),
        "TWIN_QUALITY_MARGIN": str(form.margin),
        "OPENAI_API_KEY": "sk-of-the-provider",
        "OPENAI_BASE_URL": provider.url,
    }
    with (
        pytest.MonkeyPatch.context() as patch,
        new_stack(folder, gateway_weights, tiny_gguf, environ=environ) as stack,
    ):
        for name, value in environ.items():
            patch.setenv(name, value)
        patch.setenv("TWIN_HOME", str(stack.settings.home))
        patch.setenv("TWIN_GATEWAY_PORT", str(stack.settings.gateway_port))
        patch.setenv("TWIN_TRACES_PORT", str(stack.settings.traces_port))
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        others = [
            Stack(
                stack.settings.model_copy(update={"gateway_port": free_port()}), tiny_gguf, environ
            )
            for _ in range(form.gateways - 1)
        ]
        try:
            stack.start_traces()
            stack.start_relay()
            prepare_home(stack.settings, tiny_gguf, load_embedder(stack.settings))
            stack.start_model(f"{AUTHOR}/v1")
            with ThreadPoolExecutor() as pool:
                list(pool.map(Stack.start_gateway, [stack, *others]))
            instance = dg.DagsterInstance.ephemeral()
            instance.add_dynamic_partitions(str(authors.name), [AUTHOR])
            made = Market(form, [stack, *others], provider, instance)
            made.site = made.key("a site")
            made.friend = made.key("a friend", aliases=frozenset({PAID}), usd_per_day=1.0)
            yield made
        finally:
            for other in others:
                other.stop()
            provider.end()


@pytest.fixture(scope="module")
def bought(market: Market) -> dict[str, Any]:
    """Readers have asked at every gateway, and labels were bought of what they asked."""
    questions = [
        about_clocks(n // 2) if n % 2 else small_talk(n // 2) for n in range(market.form.labels)
    ]
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda one: market.ask(
                    one[1], gateway=one[0] % len(market.gateways), user=f"reader {one[0]}"
                ),
                enumerate(questions),
            )
        )
    market.answers(len(questions))
    market.materialize(interactions)
    return market.materialize(routing_labels, usd=1.0, most_labels=len(questions))


@pytest.fixture(scope="module")
def adopted(market: Market, bought: dict[str, Any]) -> dict[str, Any]:
    """A policy is in force, and every gateway has read it."""
    told = market.materialize(routing_policy)
    assert told["routed"], told["why"]
    for number in range(len(market.gateways)):
        market.stack.wait(
            lambda number=number: (
                market.ask(about_clocks(900), gateway=number)["route"] != "stable"
            ),
        )
    return told


@dataclass(frozen=True)
class Traffic:
    """What readers were answered: texts by the way in which they asked."""

    texts: dict[str, list[str]]
    asked: int


def chatted(stack: Stack, key: str, question: str) -> str:
    messages: list[Any] = [{"role": "user", "content": question}]
    answer = stack.client(key).chat.completions.create(model=TWIN, messages=messages)
    return answer.choices[0].message.content or ""


def streamed(stack: Stack, key: str, question: str) -> str:
    messages: list[Any] = [{"role": "user", "content": question}]
    chat = stack.client(key).chat.completions
    pieces = list(chat.create(model=TWIN, messages=messages, stream=True))
    return "".join(choice.delta.content or "" for piece in pieces for choice in piece.choices)


def responded(stack: Stack, key: str, question: str) -> str:
    return stack.client(key).responses.create(model=TWIN, input=question).output_text


WAYS = {"whole": chatted, "stream": streamed, "responses": responded}


@pytest.fixture(scope="module")
def traffic(market: Market, adopted: dict[str, Any]) -> Traffic:
    """In every way there are questions about clocks and of nothing in particular, over all gateways
    (other people's clients: `test_gateway_clients.py`)."""
    jobs = [(name, n) for name in WAYS for n in range(market.form.questions)]

    def run(job: tuple[int, tuple[str, int]]) -> tuple[str, str]:
        number, (name, turn) = job
        question = (about_clocks if turn % 4 == 1 else small_talk)(1_000 + number)
        gateway = market.gateways[number % len(market.gateways)]
        return name, WAYS[name](gateway, market.site, question)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, enumerate(jobs)))
    texts: dict[str, list[str]] = {}
    for name, text in found:
        texts.setdefault(name, []).append(text)
    return Traffic(texts, len(jobs))


def test_labels_are_bought_of_what_readers_asked(market: Market, bought: dict[str, Any]) -> None:
    assert bought["claims"] == ["topic", "voice"], bought["certificates"]
    assert bought["labels"] == bought["new_labels"] == market.form.labels
    assert bought["withdrawn"] == []
    tables = Tables(market.settings.tables_base, state=State.open(market.settings.state_address))
    labels = tables.read("routing_labels", AUTHOR).filter(pl.col("source") != "plant")
    assert set(labels["source"]) == {"recorded"}
    assert labels["reader"].n_unique() == market.form.labels
    bill = market.provider.bill
    assert bill.requests == market.form.labels
    assert market.settled() == bill.nano > 0
    assert bought["usd"] == pytest.approx(
        bill.nano / NANO_PER_DOLLAR, abs=1e-6
    )  # told to six decimals


def test_the_gateways_follow_the_policy_that_was_fitted(
    market: Market, adopted: dict[str, Any]
) -> None:
    policy = read_routing_policy(policy_path(market.settings.home, AUTHOR))
    assert policy.step.certified
    assert 0.3 <= 1.0 - policy.step.kept <= 0.7  # half of the questions were small talk
    explained: list[str] = []
    for number in range(len(market.gateways)):
        talk = [market.ask(small_talk(800 + n), gateway=number) for n in range(4)]
        clocks = [market.ask(about_clocks(910 + n), gateway=number) for n in range(4)]
        # some go the other way by lot, or are not like the labels; the traces say which
        assert [one["route"] for one in talk].count("stable") >= 2
        assert [one["route"] for one in clocks].count("routed:paid") >= 2
        explained += [talk[0]["trace_id"], clocks[0]["trace_id"]]
    for trace_id in explained:
        shown = _explained(market, trace_id)
        assert "routing reason: " in shown
        assert "gain " in shown
        assert "threshold " in shown
        assert "would have cost about $" in shown


def test_every_way_of_asking_is_answered_and_the_account_is_the_bill(
    market: Market, traffic: Traffic
) -> None:
    assert traffic.texts.keys() == WAYS.keys()
    assert [name for name, texts in traffic.texts.items() if not all(texts)] == []
    assert sum(len(texts) for texts in traffic.texts.values()) == traffic.asked
    assert market.settled() == market.provider.bill.nano


def test_the_saving_that_is_told_holds_the_true_one(
    market: Market, adopted: dict[str, Any], traffic: Traffic
) -> None:
    written = datetime.fromisoformat(
        read_routing_policy(policy_path(market.settings.home, AUTHOR)).written_at
    )
    known = market.answers(market.form.labels + traffic.asked + 8 * len(market.gateways))
    own = known.filter((pl.col("route") == "stable") & (pl.col("started_at") >= written))
    told = routing_summary(market.settings, read_author(market.settings, AUTHOR))
    saved = told["saved_usd"]
    before = market.provider.bill.nano
    with ThreadPoolExecutor(4) as pool:  # what it would have been, from the provider's own bill
        list(
            pool.map(
                lambda question: market.ask(question, key=market.friend, model=f"{TWIN}@paid"),
                own["question"].to_list(),
            )
        )
    true = (market.provider.bill.nano - before) / NANO_PER_DOLLAR
    assert own.height >= 10
    assert 0 < saved["low"] <= true <= saved["high"], (saved, true)
    assert market.settled() == market.provider.bill.nano


def test_readers_who_leave_or_ask_twice_pay_once(market: Market, traffic: Traffic) -> None:
    bought_before, spent, bill = market.provider.bill.requests, market.settled(), _billed(market)
    question = f"{about_clocks(930)} (long)"
    with ThreadPoolExecutor(4) as pool, slow_tokens(market.provider, 0.4):
        list(pool.map(lambda n: _leave(market, n, question), range(4)))
        market.stack.wait(lambda: market.provider.bill.requests == bought_before + 4)
    left = read_bill(market.provider.bill.path)[-4:]
    assert {line["outcome"] for line in left} == {"left"}
    # what was under way when he left: the provider had sent it, and nobody had read it
    off = (market.settled() - spent) - (_billed(market) - bill)
    assert abs(off) <= 4 * 2 * TOKEN_NANO
    spent, bill = market.settled(), _billed(market)
    once = {"Idempotency-Key": "cost-1"}
    body = {"model": f"{TWIN}@paid", "messages": [{"role": "user", "content": about_clocks(931)}]}
    first, second = (
        gateway.post(body, key=market.friend, **once)
        for gateway in (market.gateways[0], market.gateways[-1])
    )
    assert first.json()["twin"]["version"] == "paid"
    assert second.content == first.content
    assert market.provider.bill.requests == bought_before + 5
    assert market.settled() - spent == _billed(market) - bill > 0


def test_no_key_passes_its_limit_over_all_gateways(market: Market, traffic: Traffic) -> None:
    limit = 0.0003
    key = market.key("a small key", aliases=frozenset({PAID}), usd_per_day=limit)
    bill, spent = _billed(market), market.settled()
    body = {
        "model": f"{TWIN}@paid",
        "messages": [{"role": "user", "content": f"{about_clocks(940)} (long)"}],
    }
    with ThreadPoolExecutor(16) as pool:
        statuses = list(
            pool.map(
                lambda n: market.gateways[n % len(market.gateways)].post(body, key=key).status_code,
                range(16),
            )
        )
    assert set(statuses) == {200, 429}
    assert 0 < _billed(market) - bill <= limit * NANO_PER_DOLLAR
    assert market.settled() - spent == _billed(market) - bill
    answer = _meant_for_paid(market, "", key=key).json()["twin"]
    assert answer["route"] == "stable"
    assert "budget used up: answered by the author's model" in answer["degraded"]


@pytest.mark.drawn(1)
@pytest.mark.parametrize("how", ["429", "500", "broken", "cut"])
def test_a_provider_that_fails_loses_nothing_and_is_paid_once(
    market: Market, traffic: Traffic, how: str
) -> None:
    bought_before, spent, bill = market.provider.bill.requests, market.settled(), _billed(market)
    answer = _meant_for_paid(market, f" ({how})", stream=how == "broken")
    assert "answered" in answer.text
    assert "by stable" in answer.text
    assert market.provider.bill.requests == bought_before + 1
    off = (market.settled() - spent) - (_billed(market) - bill)
    if how == "cut":  # what was computed nobody can know: the most that it could cost
        assert off >= 0
    elif how == "broken":  # no usage came: the prompt is counted here, LiteLLM's way
        assert 0 <= off <= 2 * PROMPT_NANO
    else:
        assert off == 0


def test_a_gateway_is_killed_amid_paid_streams(market: Market, traffic: Traffic) -> None:
    spent, bill = market.settled(), _billed(market)
    count = 3 * len(market.gateways)
    begun = threading.Barrier(count + 1, timeout=120)

    def read(number: int) -> str:
        body = {
            "model": f"{TWIN}@paid",
            "messages": [{"role": "user", "content": f"{about_clocks(960 + number)} (long)"}],
            "stream": True,
        }
        stack = market.gateways[number % len(market.gateways)]
        text = ""
        try:
            with _streaming(stack, body, market.friend) as answer:
                for line in answer.iter_lines():
                    if '"content":"' in line and not text:
                        begun.wait()
                    text += line
        except httpx.TransportError:
            return "lost"
        return "whole" if "[DONE]" in text else "lost"

    with ThreadPoolExecutor(count) as pool:
        with slow_tokens(market.provider, 0.5):
            work = [pool.submit(read, number) for number in range(count)]
            begun.wait()
            market.gateways[-1].worker().send_signal(signal.SIGKILL)
        ends = [one.result() for one in work]
    market.gateways.pop().stop()
    assert ends.count("whole") == count - 3
    market.stack.wait(
        lambda: len(read_bill(market.provider.bill.path)) == market.provider.bill.requests
    )
    rows = market.account().rows()
    held = sum(int(row["reserved_nano"]) for row in rows)
    billed = _billed(market) - bill
    # what the killed one had reserved stays held, and counts in full after its deadline
    assert held > 0
    assert market.spent() - spent < billed <= market.spent() - spent + held


def test_a_used_up_budget_leaves_the_questions_to_the_own_model(
    market: Market, traffic: Traffic
) -> None:
    account = market.account()
    now = account.sum_spending()
    rest = BUDGET - now.usd - now.reserved_usd - 1e-6  # less than any answer costs
    # the home's budget is one: here a teacher has spent it
    account.settle(account.reserve(purpose="teacher", author="", key="", max_usd=rest), rest)
    bill = market.provider.bill.requests
    twins = [market.ask(about_clocks(970 + n)) for n in range(4)]
    assert {twin["route"] for twin in twins} == {"stable"}
    # the policy is followed until its next look at the money, a minute later
    told = [twin["degraded"] for twin in twins]
    assert sum("budget used up" in one or "margin not held" in one for one in told) >= 2
    refused = market.stack.post(
        {"model": f"{TWIN}@paid", "messages": [{"role": "user", "content": about_clocks(1)}]},
        key=market.friend,
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "paid_budget_used_up")
    assert market.provider.bill.requests == bill


def test_every_trace_explains_its_route(market: Market, traffic: Traffic) -> None:
    time.sleep(2.0)  # spans leave the gateways in batches, each second
    routed = [
        trace for trace in market.traces() if trace.get("twin.route") in {"stable", "routed:paid"}
    ]
    after = [one for one in routed if one.get("twin.routing")]
    # the readers' questions before there was a policy, and those that waited for it, have none
    assert len(after) >= traffic.asked
    assert len(routed) - len(after) <= market.form.labels + 20 * len(market.gateways)
    for one in after:
        assert "gain " in one["twin.routing"] or one["twin.routing"].startswith("not routed: ")
        assert 0.0 < float(one["twin.propensity"]) <= 1.0
        if one["twin.route"] == "routed:paid":
            assert ": paid" in one["twin.routing"] or "by lot" in one["twin.routing"]
    assert {one.get("twin.other", "") for one in after} <= {"own", "paid", ""}


def _meant_for_paid(
    market: Market, ending: str, *, key: str = "", stream: bool = False
) -> httpx.Response:
    """The answer to a question that `twin routing try` says is the paid model's.

    One that the lot gave to the own model is asked again, with another number: nothing was paid.
    """
    author = read_author(market.settings, AUTHOR)
    for number in range(950, 990):
        question = about_clocks(number) + ending
        if preview_routing(market.settings, author, question)["model"] != PAID:
            continue
        body = {
            "model": TWIN,
            "messages": [{"role": "user", "content": question}],
            "stream": stream,
        }
        answer = market.stack.post(body, key=key or market.site)
        assert answer.status_code == 200, answer.text
        if "routed:paid" in answer.text:
            return answer
    raise AssertionError("no question was meant for the paid model")


def _billed(market: Market) -> int:
    return market.provider.bill.nano


def _streaming(stack: Stack, body: dict[str, Any], key: str) -> Any:
    return httpx.stream(
        "POST",
        f"{stack.url}/v1/chat/completions",
        json=body,
        headers={"Authorization": f"Bearer {key}"},
        timeout=60,
        trust_env=False,
    )


def _leave(market: Market, number: int, question: str) -> None:
    """Read the first token of a paid stream and go; the policy's lot would give some to the own."""
    body = {
        "model": f"{TWIN}@paid",
        "messages": [{"role": "user", "content": question}],
        "stream": True,
    }
    stack = market.gateways[number % len(market.gateways)]
    with _streaming(stack, body, market.friend) as answer:
        next(line for line in answer.iter_lines() if '"content":"' in line)


def _explained(market: Market, trace_id: str) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    explanation = explain(market.settings, trace_id)
    assert explanation.trace["twin.stages"].startswith("choose_model ")
    console.print(explanation_tree(explanation))
    return console.export_text()
