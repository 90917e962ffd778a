"""Test the metrics of gateway and home, and the shipped alert rules and dashboard."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import promql_parser
import pytest
import typer
import yaml
from prometheus_client.parser import text_string_to_metric_families
from twin_cli import running

from tests.conftest import ROOT
from tests.unit.gateway.test_routes import QUESTION, app, create_client
from twin_resources.access.keys import KeyLimits, add_key, open_key_store
from twin_resources.gateway.api.routes import RouteAllowlist
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.routing.snapshot import Server, Snapshot
from twin_resources.gateway.runtime.home_metrics import HomeMetrics
from twin_resources.observability.langfuse.outbox import Outbox, QueuedScore, outbox_path
from twin_resources.observability.metrics import count_answer, render_metrics
from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.ledger.ledger_tables import FeedState, store_feed
from twin_resources.quality.retraining import alarm_records, score_watch
from twin_resources.settings import Settings
from twin_resources.statistics.detector import StreamEvidence
from twin_resources.storage.state.home_state import open_home_state

__all__ = ["app"]  # the fixture
MONITORING = ROOT / "deploy" / "monitoring"


def read_samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read_metric(text: str, name: str, **labels: str) -> float:
    return read_samples(text).get((name, tuple(sorted(labels.items()))), 0.0)


@pytest.fixture
def home_metrics(home: Settings) -> HomeMetrics:
    """Return the metrics of a home with a queued score, an open alarm and a spending limit."""
    state = open_home_state(home)
    ledger_tables.open_tables(state)
    evidence = StreamEvidence("ann", "thumbs", "v1", 200, 20, 0, {"": 0.7, "short": 0.6}, 130.0)
    with state.transaction() as connection:
        score_watch.store_evidence(connection, "ann", "v1", {"thumbs": evidence}, read_to=0)
        alarm_records.record_alarm(connection, evidence, threshold=120.0, at=1_000.0)
        store_feed(connection, "scores", FeedState(5_000))
    state.close()
    outbox = Outbox(outbox_path(home))
    outbox.put_scores([QueuedScore(id="1", trace_id="2", name="thumbs", value=1.0)])
    live_config = LiveConfig(home)
    servers = {
        "ann/v1": Server("http://127.0.0.1:1/v1", "ann", "", ready=True),
        "base": Server("http://127.0.0.1:2/v1", "base", "", ready=False),
    }
    live_config.current = Snapshot({}, None, servers)
    return HomeMetrics(home.model_copy(update={"budget_per_day": 2.0}), live_config, outbox)


def test_the_metrics_of_a_home_have_their_values(home_metrics: HomeMetrics) -> None:
    text = render_metrics(home_metrics).decode()
    assert read_metric(text, "twin_model_server_ready", server="ann/v1") == 1
    assert ("twin_model_server_ready", (("server", "base"),)) in read_samples(text)
    assert read_metric(text, "twin_model_server_ready", server="base") == 0
    assert 0 <= read_metric(text, "twin_outbox_oldest_age_seconds") < 600
    assert read_metric(text, "twin_scores_read_timestamp_seconds") == 5
    stream = {"author": "ann", "stream": "thumbs", "version": "v1"}
    assert read_metric(text, "twin_quality_evidence", **stream) == 130
    assert read_metric(text, "twin_quality_alarm_threshold") > 1
    assert read_metric(text, "twin_quality_alarm_raised_timestamp_seconds", author="ann") == 1_000
    assert read_metric(text, "twin_budget_per_day_dollars") == 2
    for part in ("servers", "outbox", "quality", "spending"):
        assert read_metric(text, "twin_home_readable", part=part) == 1


def test_a_home_without_scores_or_limits_has_fewer_metrics(home: Settings) -> None:
    text = render_metrics(HomeMetrics(home, LiveConfig(home), Outbox(outbox_path(home)))).decode()
    assert "twin_quality_evidence" not in text
    assert "twin_budget_per_day_dollars" not in text
    assert read_metric(text, "twin_home_readable", part="quality") == 1


def test_unreadable_parts_are_reported_and_the_others_exported(home_metrics: HomeMetrics) -> None:
    unreadable = home_metrics.settings.model_copy(
        update={"state_url": "postgresql+psycopg://nobody@127.0.0.1:1/none"}
    )
    text = render_metrics(
        HomeMetrics(unreadable, home_metrics.live_config, home_metrics.outbox)
    ).decode()
    assert read_metric(text, "twin_home_readable", part="outbox") == 1
    assert ("twin_home_readable", (("part", "quality"),)) in read_samples(text)
    assert read_metric(text, "twin_home_readable", part="quality") == 0
    assert read_metric(text, "twin_outbox_oldest_age_seconds") >= 0


def test_answers_are_counted_with_cost_tokens_and_findings() -> None:
    labels = {"author": "metrics", "version": "v7"}
    answer_fields: dict[str, Any] = {
        **labels,
        "route": "stable",
        "usage": {"input": 90, "output": 20},
    }
    count_answer(**answer_fields, usd=0.25, guard_findings=[("personal", "mask", 2)])
    count_answer(**answer_fields | {"usage": {}}, usd=None, error="Timeout")
    text = render_metrics(_EmptyHomeMetrics()).decode()
    assert read_metric(text, "twin_answers_total", **labels, route="stable", outcome="ok") == 1
    assert read_metric(text, "twin_answers_total", **labels, route="stable", outcome="Timeout") == 1
    assert read_metric(text, "twin_answer_cost_dollars_total", **labels, route="stable") == 0.25
    assert read_metric(text, "twin_answer_tokens_total", **labels, direction="input") == 90
    assert read_metric(text, "twin_answer_tokens_total", **labels, direction="output") == 20
    finding_labels = {"author": "metrics", "kind": "personal", "action": "mask"}
    assert read_metric(text, "twin_guard_findings_total", **finding_labels) == 2


class _EmptyHomeMetrics(HomeMetrics):
    def __init__(self) -> None: ...

    def collect(self) -> Iterator[Any]:
        return iter(())


async def test_only_monitor_and_admin_keys_may_read_metrics(
    app: RouteAllowlist, home: Settings
) -> None:
    def key_headers(role: Any) -> dict[str, str]:
        secret = add_key(
            open_key_store(home), role=role, authors=["*"], label=role, limits=KeyLimits()
        )
        return {"Authorization": f"Bearer {secret}"}

    async with create_client(app, home) as client:
        for role, status in {"monitor": 200, "admin": 200, "reader": 403, "site": 403}.items():
            answer = await client.get("/metrics", headers=key_headers(role))
            assert answer.status_code == status, role
        assert answer.json()["error"]["code"] == "role_not_allowed"
        assert (await client.get("/metrics", headers={"Authorization": ""})).status_code == 401


async def test_a_monitor_key_may_only_read_metrics(app: RouteAllowlist, home: Settings) -> None:
    secret = add_key(open_key_store(home), role="monitor", authors=["*"], label="p")
    headers = {"Authorization": f"Bearer {secret}"}
    async with create_client(app, home) as client:
        chat = await client.post("/v1/chat/completions", json=QUESTION, headers=headers)
        models = await client.get("/v1/models", headers=headers)
        vote = await client.post("/twin/feedback", json={}, headers=headers)
    assert [answer.status_code for answer in (chat, models, vote)] == [403, 403, 403]


async def test_requests_are_counted_by_known_route(app: RouteAllowlist, home: Settings) -> None:
    secret = add_key(open_key_store(home), role="monitor", authors=["*"], label="p")
    labels = {"route": "/v1/chat/completions", "status": "200"}
    async with create_client(app, home) as client:

        async def scrape() -> httpx.Response:
            return await client.get("/metrics", headers={"Authorization": f"Bearer {secret}"})

        old_text = (await scrape()).text
        started = time.monotonic()
        await client.post("/v1/chat/completions", json=QUESTION)
        await client.get("/a/path/of/an/attacker")
        elapsed = time.monotonic() - started
        answer = await scrape()
    new_text = answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    name = "twin_http_requests_total"
    assert read_metric(new_text, name, **labels) == read_metric(old_text, name, **labels) + 1
    other = {"route": "other", "status": "404"}
    assert read_metric(new_text, name, **other) == read_metric(old_text, name, **other) + 1
    assert "attacker" not in new_text
    name = "twin_http_request_duration_seconds_sum"
    seconds = read_metric(new_text, name, route=labels["route"]) - read_metric(
        old_text, name, route=labels["route"]
    )
    assert 0 < seconds <= elapsed
    assert read_metric(new_text, "twin_http_requests_in_progress") == 1, "the scrape itself"


def collect_expressions() -> list[tuple[str, str]]:
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return [(rule["alert"], rule["expr"]) for rule in rules] + [
        (panel["title"], target["expr"]) for panel in panels for target in panel["targets"]
    ]


@pytest.mark.parametrize(("name", "expression"), collect_expressions())
def test_rules_and_panels_use_existing_metrics(
    name: str, expression: str, home_metrics: HomeMetrics
) -> None:
    promql_parser.parse(expression)
    reported = {
        sample.name
        for family in text_string_to_metric_families(render_metrics(home_metrics).decode())
        for sample in family.samples
    } | {f"{counter}_total" for counter in ("twin_answers", "twin_answer_cost_dollars",
                                             "twin_answer_tokens", "twin_guard_findings")} | {
        "twin_http_requests_total", "twin_http_request_duration_seconds_bucket",
        "twin_spent_today_dollars",
    }  # fmt: skip
    used_names = set(re.findall(r"\b(?:twin_[a-z_]+|up)\b(?=[{()\[ ]|$)", expression))
    assert used_names, name
    assert used_names <= reported | {"up"}, name


def test_each_rule_names_an_existing_command() -> None:
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert len(rules) <= 10
    known = set(typer.main.get_command(running.app).commands)  # pyright: ignore[reportAttributeAccessIssue]
    for rule in rules:
        commands = re.findall(r"twin ([a-z]+)", rule["annotations"]["remedy"])
        assert set(commands) <= known, rule["alert"]
        assert commands, rule["alert"]


def test_promtool_accepts_rules_and_configuration(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: Debian's package `prometheus` contains it")
    shutil.copytree(MONITORING, tmp_path, dirs_exist_ok=True)
    (tmp_path / "twin-monitor.key").touch()
    for command in (("test", "rules", "alerts_test.yaml"), ("check", "config", "prometheus.yaml")):
        completed = subprocess.run(
            [promtool, *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert completed.returncode == 0, completed.stdout + completed.stderr
