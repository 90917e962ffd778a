"""Test routing between the home's model and a paid one, from labels to the account.

Readers ask questions, labels are bought for them and scored by the author's certified judges, a
policy is fitted, and running gateways follow it. The simulated provider is the paid model; the
account must equal its bill.

The quick suite has 70 labels at a margin of 0.1 and two gateways, because a margin of 0.03 needs at
least 179 labels. The long tests have 300 labels at 0.03 and four gateways. The tests run in order,
and each fixture of the module is one step.
"""

from __future__ import annotations

import io
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import numpy as np
import polars as pl
import pytest
from rich.console import Console
from twin_cli.commands.answer_history import run_explain
from twin_cli.commands.routing_command import build_routing_summary

from tests.free_ports import free_port
from tests.live.gateway.gateway_cluster import TWIN, Cluster, ClusterSize
from tests.live.gateway.labeling_home import AUTHOR, BASE, clock_question, prepare_home, small_talk
from tests.live.gateway.stack import Stack, new_stack, slow_down_provider
from tests.simulated_provider.paid_provider import PaidProvider
from tests.simulated_provider.provider_answers import Behavior, read_bill
from twin_assets.feedback.interactions import interactions
from twin_assets.partitions import authors
from twin_assets.serving.routing_labels import routing_labels
from twin_assets.serving.routing_policy import routing_policy
from twin_resources.access.account import NANO_PER_DOLLAR
from twin_resources.authors import read_author
from twin_resources.models.embedder.embedder import load_embedder
from twin_resources.models.retrieval.retrieval import Retriever
from twin_resources.registry.route_names import PAID
from twin_resources.router.policy_file import policy_path, read_routing_policy
from twin_resources.router.routing_decision import choose_model, question_features
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

pytestmark = [pytest.mark.live, pytest.mark.timeout(3000)]  # three hundred labels on two busy cores
MODEL = "openai/gpt-4o-mini"
PROMPT_NANO = 150  # nano-dollars per token of the prompt
# The daily budget is far above the spending, so the policy decides and not the pace.
BUDGET = 10_000.0


SHORT = ClusterSize(label_count=70, margin=0.1, gateway_count=2, question_count=33)
LONG = ClusterSize(label_count=300, margin=0.03, gateway_count=4, question_count=132)


@pytest.fixture(
    scope="module",
    params=[pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.long)],
)
def cluster(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    gateway_weights: Path,
    tiny_gguf: Path,
) -> Iterator[Cluster]:
    """Start the gateways and create the keys, before any label exists."""
    size: ClusterSize = request.param
    folder = tmp_path_factory.mktemp("cluster")
    provider = PaidProvider(
        Behavior(latency_s=0.005, token_s=0.01, reads=True), folder / "bill.jsonl"
    )
    provider.start()
    environ = {
        "TWIN_BASE_MODEL": BASE,
        "TWIN_PAID_MODEL": MODEL,
        "TWIN_PAID_BUDGET_PER_DAY": str(BUDGET),
        "TWIN_BUDGET_PER_DAY": str(BUDGET),
        "TWIN_QUALITY_MARGIN": str(size.margin),
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
        other_stacks = [
            Stack(
                stack.settings.model_copy(update={"gateway_port": free_port()}), tiny_gguf, environ
            )
            for _ in range(size.gateway_count - 1)
        ]
        try:
            stack.start_traces()
            stack.start_relay()
            prepare_home(stack.settings, tiny_gguf, load_embedder(stack.settings))
            stack.start_model(f"{AUTHOR}/v1")
            with ThreadPoolExecutor() as pool:
                list(pool.map(Stack.start_gateway, [stack, *other_stacks]))
            instance = dg.DagsterInstance.ephemeral()
            instance.add_dynamic_partitions(str(authors.name), [AUTHOR])
            new_cluster = Cluster(size, [stack, *other_stacks], provider, instance)
            new_cluster.site_key = new_cluster.create_key("a site")
            new_cluster.friend_key = new_cluster.create_key(
                "a friend", aliases=frozenset({PAID}), usd_per_day=1.0
            )
            yield new_cluster
        finally:
            for other_stack in other_stacks:
                other_stack.stop()
            provider.end()


@pytest.fixture(scope="module")
def purchase(cluster: Cluster) -> dict[str, Any]:
    """Ask questions at every gateway, and buy labels for them."""
    questions = [
        clock_question(n // 2) if n % 2 else small_talk(n // 2)
        for n in range(cluster.size.label_count)
    ]
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda number: cluster.ask(
                    questions[number],
                    gateway=number % len(cluster.gateways),
                    user=f"reader {number}",
                ),
                range(len(questions)),
            )
        )
    cluster.wait_for_answers(len(questions))
    cluster.materialize(interactions)
    return cluster.materialize(routing_labels, usd=1.0, most_labels=len(questions))


@pytest.fixture(scope="module")
def adoption(cluster: Cluster, purchase: dict[str, Any]) -> dict[str, Any]:
    """Fit a policy, and wait until every gateway has read it."""
    result = cluster.materialize(routing_policy)
    assert result["routed"], result["why"]
    for number in range(len(cluster.gateways)):
        cluster.stack.wait(
            lambda number=number: (
                cluster.ask(clock_question(900), gateway=number)["route"] != "stable"
            )
        )
    return result


@pytest.fixture(scope="module")
def asked_count(cluster: Cluster, adoption: dict[str, Any]) -> int:
    """Ask clock questions and small talk, spread over all gateways; return their number."""

    def ask(number: int) -> None:
        question = (clock_question if number % 4 == 1 else small_talk)(1_000 + number)
        cluster.ask(question, gateway=number % len(cluster.gateways))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(cluster.size.question_count)))
    return cluster.size.question_count


def test_labels_are_bought_for_the_questions_of_readers(
    cluster: Cluster, purchase: dict[str, Any]
) -> None:
    assert purchase["claims"] == ["topic", "voice"], purchase["certificates"]
    assert purchase["labels"] == purchase["new_labels"] == cluster.size.label_count
    assert purchase["withdrawn"] == []
    tables = Tables(cluster.settings.tables_base, state=open_home_state(cluster.settings))
    labels = tables.read("routing_labels", AUTHOR).filter(pl.col("source") != "plant")
    assert set(labels["source"]) == {"recorded"}
    assert labels["reader"].n_unique() == cluster.size.label_count
    bill = cluster.provider.bill
    assert bill.requests == cluster.size.label_count
    assert cluster.settled_nano() == bill.nano > 0
    assert purchase["usd"] == pytest.approx(
        bill.nano / NANO_PER_DOLLAR, abs=1e-6
    )  # rounded to six decimals


def test_the_gateways_follow_the_fitted_policy(cluster: Cluster, adoption: dict[str, Any]) -> None:
    policy = read_routing_policy(policy_path(cluster.settings.home, AUTHOR))
    assert policy.step.certified
    assert 0.3 <= 1.0 - policy.step.kept <= 0.7  # half of the questions were small talk
    trace_ids: list[str] = []
    for number in range(len(cluster.gateways)):
        small_talk_answers = [cluster.ask(small_talk(800 + n), gateway=number) for n in range(4)]
        clock_answers = [cluster.ask(clock_question(910 + n), gateway=number) for n in range(4)]
        # Some questions do not resemble the labels.
        assert [trace["route"] for trace in small_talk_answers].count("stable") >= 2
        assert [trace["route"] for trace in clock_answers].count("routed:paid") >= 2
        trace_ids += [small_talk_answers[0]["trace_id"], clock_answers[0]["trace_id"]]
    for trace_id in trace_ids:
        explanation_text = _render_explanation(cluster, trace_id)
        assert "routing reason: " in explanation_text
        assert "gain " in explanation_text
        assert "threshold " in explanation_text
        assert "would have cost about $" in explanation_text


def test_the_reported_range_contains_the_true_saving(
    cluster: Cluster, adoption: dict[str, Any], asked_count: int
) -> None:
    written_at = datetime.fromisoformat(
        read_routing_policy(policy_path(cluster.settings.home, AUTHOR)).written_at
    )
    interactions_table = cluster.wait_for_answers(
        cluster.size.label_count + asked_count + 8 * len(cluster.gateways)
    )
    own_answers = interactions_table.filter(
        (pl.col("route") == "stable") & (pl.col("started_at") >= written_at)
    )
    result = build_routing_summary(cluster.settings, read_author(cluster.settings, AUTHOR))
    saved_usd = result["saved_usd"]
    billed_before = cluster.provider.bill.nano
    with ThreadPoolExecutor(4) as pool:  # the actual price, from the provider's bill
        list(
            pool.map(
                lambda question: cluster.ask(
                    question, key=cluster.friend_key, model=f"{TWIN}@paid"
                ),
                own_answers["question"].to_list(),
            )
        )
    true_saving_usd = (cluster.provider.bill.nano - billed_before) / NANO_PER_DOLLAR
    assert own_answers.height >= 10
    assert 0 < saved_usd["low"] <= true_saving_usd <= saved_usd["high"], (
        saved_usd,
        true_saving_usd,
    )
    assert cluster.settled_nano() == cluster.provider.bill.nano


@pytest.mark.parametrize("failure", ["429", "500", "broken", "cut"])
def test_a_failing_provider_is_replaced_and_paid_at_most_once(
    cluster: Cluster, asked_count: int, failure: str
) -> None:
    requests_before, settled_before, billed_before = (
        cluster.provider.bill.requests,
        cluster.settled_nano(),
        _billed_nano(cluster),
    )
    answer = _ask_paid_question(cluster, f" ({failure})", stream=failure == "broken")
    assert "answered" in answer.text
    assert "by stable" in answer.text
    assert cluster.provider.bill.requests == requests_before + 1
    billed_nano = _billed_nano(cluster) - billed_before
    difference_nano = cluster.settled_nano() - settled_before - billed_nano
    if failure == "cut":  # the maximum cost counts, because the computed tokens are unknown
        assert difference_nano >= 0
    elif failure == "broken":  # without usage, the gateway counts the prompt
        assert 0 <= difference_nano <= 2 * PROMPT_NANO
    else:
        assert difference_nano == 0


def test_a_gateway_killed_amid_paid_streams_stays_within_its_reservations(
    cluster: Cluster, asked_count: int
) -> None:
    settled_before, billed_before = cluster.settled_nano(), _billed_nano(cluster)
    stream_count = 3 * len(cluster.gateways)
    all_started = threading.Barrier(stream_count + 1, timeout=120)

    def read(number: int) -> str:
        body = {
            "model": f"{TWIN}@paid",
            "messages": [{"role": "user", "content": f"{clock_question(960 + number)} (long)"}],
            "stream": True,
        }
        stack = cluster.gateways[number % len(cluster.gateways)]
        text = ""
        try:
            with stack.stream(body, key=cluster.friend_key) as answer:
                for line in answer.iter_lines():
                    if '"content":"' in line and not text:
                        all_started.wait()
                    text += line
        except httpx.TransportError:
            return "lost"
        return "whole" if "[DONE]" in text else "lost"

    with ThreadPoolExecutor(stream_count) as pool:
        with slow_down_provider(cluster.provider, 0.5):
            futures = [pool.submit(read, number) for number in range(stream_count)]
            all_started.wait()
            cluster.gateways[-1].worker().send_signal(signal.SIGKILL)
        outcomes = [future.result() for future in futures]
    cluster.gateways.pop().stop()
    assert outcomes.count("whole") == stream_count - 3
    cluster.stack.wait(
        lambda: len(read_bill(cluster.provider.bill.path)) == cluster.provider.bill.requests
    )
    rows = cluster.account().list_spending()
    reserved_nano = sum(int(row["reserved_nano"]) for row in rows)
    billed_nano = _billed_nano(cluster) - billed_before
    # The killed gateway's reservations count in full after their deadline.
    assert reserved_nano > 0
    spent_nano = cluster.spent_nano() - settled_before
    assert spent_nano < billed_nano <= spent_nano + reserved_nano


def test_without_budget_the_homes_own_model_answers(cluster: Cluster, asked_count: int) -> None:
    account = cluster.account()
    total = account.sum_spending()
    remaining_usd = BUDGET - total.usd - total.reserved_usd - 1e-6  # less than any answer costs
    # The home has one budget, and here a teacher has spent it.
    account.settle(
        account.reserve(purpose="teacher", author="", key="", max_usd=remaining_usd), remaining_usd
    )
    requests_before = cluster.provider.bill.requests
    twins = [cluster.ask(clock_question(970 + n)) for n in range(4)]
    assert {twin["route"] for twin in twins} == {"stable"}
    # The gateway reads the spending once a minute.
    reasons = [twin["degraded"] for twin in twins]
    assert sum("budget used up" in reason or "margin not held" in reason for reason in reasons) >= 2
    refusal = cluster.stack.post(
        {"model": f"{TWIN}@paid", "messages": [{"role": "user", "content": clock_question(1)}]},
        key=cluster.friend_key,
    )
    assert (refusal.status_code, refusal.json()["error"]["code"]) == (429, "paid_budget_used_up")
    assert cluster.provider.bill.requests == requests_before


def test_every_trace_explains_its_route(cluster: Cluster, asked_count: int) -> None:
    time.sleep(2.0)  # the gateways export spans in batches
    routed = [
        trace
        for trace in cluster.read_traces()
        if trace.get("twin.route") in {"stable", "routed:paid"}
    ]
    routed_with_reason = [trace for trace in routed if trace.get("twin.routing")]
    # Questions before the policy have no reason.
    assert len(routed_with_reason) >= asked_count
    assert len(routed) - len(routed_with_reason) <= cluster.size.label_count + 20 * len(
        cluster.gateways
    )
    for trace in routed_with_reason:
        assert "gain " in trace["twin.routing"] or trace["twin.routing"].startswith("not routed: ")
        assert 0.0 < float(trace["twin.propensity"]) <= 1.0
        if trace["twin.route"] == "routed:paid":
            assert ": paid" in trace["twin.routing"] or "by lot" in trace["twin.routing"]
    assert {trace.get("twin.other", "") for trace in routed_with_reason} <= {"own", "paid", ""}


def _ask_paid_question(
    cluster: Cluster, suffix: str, *, key: str = "", stream: bool = False
) -> httpx.Response:
    """Return the answer to a question that the fitted policy gives to the paid model."""
    for number in range(950, 990):
        question = clock_question(number) + suffix
        if not _is_for_paid_model(cluster, question):
            continue
        body = {
            "model": TWIN,
            "messages": [{"role": "user", "content": question}],
            "stream": stream,
        }
        answer = cluster.stack.post(body, key=key or cluster.site_key)
        assert answer.status_code == 200, answer.text
        if "routed:paid" in answer.text:
            return answer
    raise AssertionError("no question was routed to the paid model")


def _is_for_paid_model(cluster: Cluster, question: str) -> bool:
    settings = cluster.settings
    policy = read_routing_policy(policy_path(settings.home, AUTHOR))
    retrieval = Retriever(settings.tables_base, load_embedder(settings)).retrieve(
        AUTHOR, question, token_budget=read_author(settings, AUTHOR).context_tokens
    )
    features = question_features(
        policy,
        np.asarray(retrieval.vector, np.float64),
        length=len(question),
        closeness=max((passage.cosine for passage in retrieval.passages), default=0.0),
    )
    return policy.models[choose_model(policy, features).model_index].name == PAID


def _billed_nano(cluster: Cluster) -> int:
    return cluster.provider.bill.nano


def _render_explanation(cluster: Cluster, trace_id: str) -> str:
    console = Console(width=200, file=io.StringIO(), markup=False)
    with console.capture() as output:
        run_explain(cluster.settings, trace_id, as_json=False, show_stages=True, console=console)
    assert "choose_model " in output.get()
    return output.get()
