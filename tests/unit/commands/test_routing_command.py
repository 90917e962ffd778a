"""Test `twin routing` as typed: without a paid model, without labels, with a policy."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from twin_cli.running import run

from tests.json_examples import read_json_example, shape
from tests.unit.gateway.routing.labeled_questions import EASY_USD, fitted_policy, sample_questions
from twin_resources.authors import Author, write_author
from twin_resources.gateway.costs.cost import Throughput
from twin_resources.gateway.runtime.background_tasks import write_throughput
from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.ledger.routed_answers import count_routed_answers, month_start
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion, write_policy
from twin_resources.router.policy_file import policy_path, write_routing_policy
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state

CANARY_ANSWER_COUNT = 20  # answers of the version on trial


@pytest.fixture
def mara_home(home: Settings) -> Settings:
    write_author(home, Author("mara", "Mara"))
    return home


@pytest.fixture
def paid_home(mara_home: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TWIN_PAID_MODEL", "gpt-4o-mini")
    monkeypatch.setenv("TWIN_PAID_BUDGET_PER_DAY", "1")
    return mara_home


def run_routing(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert run(["routing", *arguments, "--author", "mara"]) == code
    output = capsys.readouterr()
    return " ".join((output.out if code == 0 else output.err).split())


def run_routing_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(run_routing(capsys, *arguments, "--json"))


def store_answers(home: Settings, *rows: tuple[str, str, str]) -> None:
    """Store one answer of this month in the ledger for each (route, class, degraded)."""
    state = open_home_state(home)
    ledger_tables.open_tables(state)
    with state.transaction() as connection:
        for number, (route, prompt_class, degraded) in enumerate(rows):
            connection.execute(
                ledger_tables.traces.insert().values(
                    trace_id=f"t{number}", author="mara", version="v1", prompt_class=prompt_class,
                    route=route, propensity=1.0, template="", checkpoint="", server="",
                    reader="r", started_ms=int(month_start().timestamp() * 1000) + number * 1000,
                    latency_s=1.0, cost_usd=0.001, degraded=degraded, simulated=False, chunks="",
                    question="", answer="",
                )
            )  # fmt: skip
    state.close()


def test_without_a_paid_model_the_reason_is_shown(
    mara_home: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no paid model is configured" in run_routing(capsys)
    assert run_routing_json(capsys)["paid_model"] == ""


def test_without_a_policy_the_cost_of_labels_is_shown(
    paid_home: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    output = run_routing(capsys)
    assert output.startswith("Mara: routing does not pay below 219 questions a day")
    assert "no question is routed" in output
    assert "at least 179 labels" in output
    assert "TWIN_LABEL_BUDGET_PER_MONTH" in output
    assert run_routing_json(capsys)["point"] is None
    write_author(paid_home, Author("mara", "Mara", paid=False))
    assert "paid = false" in run_routing(capsys)


def test_a_policy_shows_classes_frontier_and_savings(
    paid_home: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = replace(
        fitted_policy(sample_questions(400, seed=0)),
        written_at=month_start().isoformat(timespec="seconds"),
    )
    path = policy_path(paid_home.home, "mara")
    write_routing_policy(path, policy)
    assert run_routing_json(capsys)["routed"] is False
    assert "its labels are for seller/model" in run_routing(capsys)
    own, paid = policy.models
    models = (own, replace(paid, model="gpt-4o-mini"))
    write_routing_policy(path, replace(policy, models=models))
    write_policy(paid_home.policy_path, Policy(authors={"mara": AuthorPolicy()}))
    assert "its labels are for another version" in run_routing(capsys)
    stable = ServedVersion(1, own.model, "t", "", None, "", "")
    write_policy(paid_home.policy_path, Policy(authors={"mara": AuthorPolicy(stable=stable)}))
    store_answers(
        paid_home,
        ("stable", "easy", ""),
        ("stable", "easy", "margin not held: the remaining budget is too small"),
        ("routed:paid", "hard", ""),
        ("alias:paid", "hard", ""),
        *[("canary", "easy", "")] * CANARY_ANSWER_COUNT,
    )
    throughput_path = paid_home.home / "gateway" / "throughput.json"
    write_throughput(throughput_path, {"mara/v1": Throughput(2_000, 20, 20.0)})
    summary = run_routing_json(capsys)
    assert shape(summary) == shape(read_json_example("routing --json"))
    assert summary["routed"] is True
    answer_counts = {row["class"]: (row["own"], row["paid"]) for row in summary["classes"]}
    assert answer_counts == {"easy": (2 + CANARY_ANSWER_COUNT, 0), "hard": (0, 1)}
    assert summary["minutes_margin_not_held"] == 1
    # at the price of the questions that are not routed, below the mean of all labels
    savings = summary["saved_usd"]
    mean = (2 + CANARY_ANSWER_COUNT) * float(policy.usd.mean())
    assert savings["low"] <= savings["value"] <= savings["high"] < mean
    assert savings["value"] == pytest.approx(
        (2 + CANARY_ANSWER_COUNT) * float(policy.avoided_usd.mean())
    )
    assert EASY_USD <= policy.avoided_usd.mean() < policy.usd.mean()
    assert summary["point"]["certified"]
    assert [point["in_force"] for point in summary["frontier"]].count(True) == 1
    output = run_routing(capsys)
    for text in ("go to your own model", "saved this month", "margin not met for 1 minutes"):
        assert text in output
    write_author(paid_home, Author("ann", "Ann"))  # another author's answers do not count
    assert run(["routing", "--author", "ann", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == []
    with (
        closing(open_home_state(paid_home)) as state,
        state.read_transaction() as connection,
    ):
        counts = count_routed_answers(connection, "mara", since=month_start())
    assert 0.0 < counts.utilization <= 1.0
    path.write_bytes(path.read_bytes()[:3000])
    assert "materialize `routing_policy`" in run_routing(capsys, code=1)
