"""Define a stage of a request, and run the stages.

Scope: the type of a stage, and the line that each stage adds to the trace. Out of scope: the stages
(one file each), services that requests share (`services.py`).
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
    facts = exchange.trace_facts()
    for stage in stages:
        start_time = time.perf_counter()
        exchange = await stage(exchange, services)
        duration_ms = (time.perf_counter() - start_time) * 1000
        old_facts, facts = facts, exchange.trace_facts()
        changes = [f"{name} {facts[name]}" for name in facts if facts[name] != old_facts.get(name)]
        lines.append(f"{stage.__name__} {duration_ms:.1f} ms: {', '.join(changes)}".rstrip(": "))
    return exchange, "\n".join(lines)
