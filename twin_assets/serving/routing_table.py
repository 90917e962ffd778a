"""Build an author's routing table and the cost report (architecture.md).

Scope: the table, and comparing the cost of the own model with that of the paid model.
Out of scope: the formulas (`twin_resources/gateway/costs/cost.py`, also used by the
gateway), choosing for one request (`twin_resources/gateway/routing/`), the policy
file.

By default, the table routes to the self-hosted model. A paid model, if configured, answers requests
with its alias `@paid`, and questions that a policy fitted to labels sends to it
(`routing_report.py`).
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from twin_resources.gateway.costs.cost import (
    Throughput,
    break_even_utilisation,
    self_hosted_usd_per_million_tokens,
)
from twin_resources.registry.policy import CANARY_SHARE

SCHEMA_VERSION = 1
# a prompt with two passages has about 450 tokens, and an answer about 120
PROMPT_SHARE = 0.8


def routing_table(*, paid_model: str, paid_budget_per_day: float | None) -> dict[str, Any]:
    """Return the routing table: the default model, and the paid model that requests may name.

    The table contains no measurements, so that it changes only when the decision changes.

    Args:
        paid_model: LiteLLM name, or empty.
        paid_budget_per_day: US dollars; the paid route exists only with both arguments.
    """
    table: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "default": "self_hosted",
        "paid": None,
        "canary_share": CANARY_SHARE,
    }
    if paid_model and paid_budget_per_day is not None:
        table["paid"] = {
            "model": paid_model,
            "budget_usd_per_day": paid_budget_per_day,
            "by": "alias",
        }
    return table


def cost_report(
    usd_per_hour: float, *, measured: Throughput | None, paid_blended: float | None = None
) -> dict[str, float | int | str]:
    """Return the own model's cost per million tokens, and the break-even utilisation.

    Args:
        usd_per_hour: price of the machine in US dollars per hour.
        measured: throughput of the server; None before its first answer.
        paid_blended: the paid model's price in US dollars per million tokens, for the same mix.
    """
    if measured is None or measured.tokens_per_second <= 0:
        return {"throughput": "not measured yet: the gateway has not returned an answer"}
    usd_at_full_load, usd_at_tenth_load = (
        self_hosted_usd_per_million_tokens(
            usd_per_hour, tokens_per_second=measured.tokens_per_second, utilisation=utilisation
        )
        for utilisation in (1.0, 0.1)
    )
    report: dict[str, float | int | str] = {
        "tokens_per_second": measured.tokens_per_second,
        "measured_on_requests": measured.requests,
        "usd_per_million_tokens": usd_at_full_load,
        "usd_per_million_tokens_at_10_percent": usd_at_tenth_load,
    }
    if paid_blended:
        break_even = break_even_utilisation(usd_at_full_load, paid_blended=paid_blended)
        report["paid_usd_per_million_tokens"] = paid_blended
        report["break_even_utilisation"] = break_even
        if break_even > 1:
            report["break_even"] = "never: the paid model is cheaper even at full utilisation"
    return report


def paid_blended_usd(model: str, *, prompt_share: float = PROMPT_SHARE) -> float:
    """Return the paid model's price per million tokens, for the given share of prompt tokens.

    Raises:
        TwinError: LiteLLM's price map lacks the model.
    """
    from twin_resources.access.paid_budget import answer_price_usd

    prompt_tokens = round(prompt_share * 1e6)
    return answer_price_usd(
        model, prompt_tokens=prompt_tokens, answer_tokens=1_000_000 - prompt_tokens
    )


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
