"""Build an author's routing table (architecture.md).

Scope: the table, and reading the gateway's measurements. Out of scope: costs
(`twin_resources/gateway/costs/cost.py`), choosing for one request
(`twin_resources/gateway/routing/`), the policy file.

By default, the table routes to the self-hosted model. A paid model, if configured, answers requests
that name its alias `@paid`, and questions that a policy fitted to labels sends to it
(`routing_report.py`).
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from twin_resources.gateway.costs.cost import Throughput

SCHEMA_VERSION = 1


def build_routing_table(*, paid_model: str, paid_budget_per_day: float | None) -> dict[str, Any]:
    """Return the routing table: the default model, and the paid model that requests may name.

    The table contains no measurements, so that it changes only when the decision changes.

    Args:
        paid_model: LiteLLM name, or empty.
        paid_budget_per_day: US dollars; the paid route exists only if both arguments are set.
    """
    table: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "default": "self_hosted",
        "paid": None,
    }
    if paid_model and paid_budget_per_day is not None:
        table["paid"] = {
            "model": paid_model,
            "budget_usd_per_day": paid_budget_per_day,
            "by": "alias",
        }
    return table


def read_throughput(path: Path, server_key: str) -> Throughput | None:
    """Return the gateway's measurements of one server, or None if there are none.

    Args:
        path: `<home>/gateway/throughput.json`.
        server_key: `base` or `<author>/v<version>`.
    """
    try:
        document = cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    servers = cast("Mapping[str, Mapping[str, Any]]", document["servers"])
    throughput = servers.get(server_key)
    if throughput is None or not throughput["requests"]:
        return None
    return Throughput(
        tokens=int(throughput["tokens"]),
        requests=int(throughput["requests"]),
        busy_seconds=float(throughput["busy_seconds"]),
    )
