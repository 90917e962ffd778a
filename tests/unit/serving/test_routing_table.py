"""Test the routing table and the gateway's measurements."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from twin_assets.serving.routing_table import build_routing_table, read_throughput
from twin_resources.gateway.costs.cost import Throughput
from twin_resources.gateway.runtime.background_tasks import write_throughput


@pytest.mark.parametrize(("model", "budget"), [("", None), ("openai/gpt-4o", None), ("", 2.0)])
def test_a_paid_route_requires_a_model_and_a_budget(model: str, budget: float | None) -> None:
    table = build_routing_table(paid_model=model, paid_budget_per_day=budget)
    assert table == {"schema": 1, "default": "self_hosted", "paid": None}


def test_a_paid_route_is_reached_only_by_its_alias() -> None:
    table = build_routing_table(paid_model="openai/gpt-4o", paid_budget_per_day=0.0)
    assert table["default"] == "self_hosted"
    assert table["paid"] == {"model": "openai/gpt-4o", "budget_usd_per_day": 0.0, "by": "alias"}


def test_the_gateways_measurements_are_read(tmp_path: Path) -> None:
    path = tmp_path / "gateway" / "throughput.json"
    assert read_throughput(path, "base") is None
    meter = Throughput(tokens=1200, requests=3, busy_seconds=4.0)
    write_throughput(path, {"base": meter, "ann/v1": Throughput()})
    throughput = read_throughput(path, "base")
    assert throughput is not None
    assert throughput == meter
    assert throughput.tokens_per_second == 300.0
    assert read_throughput(path, "ann/v1") is None
    assert read_throughput(path, "bob/v1") is None
    assert json.loads(path.read_text(encoding="utf-8"))["schema"] == 1
