"""Define a stage of a request, and run the stages.

Scope: the type of a stage, and the trace line of each. Out of scope: any stage (its own file),
services that requests share (`services.py`).
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

from twin_resources.gateway.exchange.exchange import Exchange
from twin_resources.gateway.stages.services import RequestServices

Stage = Callable[[Exchange, RequestServices], Awaitable[Exchange]]
"""One step of a request. It raises `RefusedError` to end the request."""


async def run_stages(
    exchange: Exchange, services: RequestServices, stages: Sequence[Stage]
) -> tuple[Exchange, str]:
    """Run stages one after the other.

    Returns:
        The exchange after the last stage, and one line per stage: its name, milliseconds, and
        each fact that it changed.

    Raises:
        RefusedError: see the stages.
    """
    lines: list[str] = []
    facts = exchange.facts()
    for stage in stages:
        began = time.perf_counter()
        exchange = await stage(exchange, services)
        took_ms = (time.perf_counter() - began) * 1000
        before, facts = facts, exchange.facts()
        changed = [f"{name} {facts[name]}" for name in facts if facts[name] != before.get(name)]
        lines.append(f"{stage.__name__} {took_ms:.1f} ms: {', '.join(changed)}".rstrip(": "))
    return exchange, "\n".join(lines)
