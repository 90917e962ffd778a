"""Run `twin up` or, with `--demo-loop`, the demo.

Scope: the choice, and the options of `twin up`.
Out of scope: the stages (`up.py`), and the demo (`demo/loop.py`), which runs `twin up` itself.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twin_cli.commands.up import UpOptions, run_up
from twin_resources.processes.stack import SERVICES
from twin_resources.settings import Settings


def run_up_command(
    settings: Settings,
    *,
    demo_loop: bool,
    include: Sequence[str] | None,
    gateway_port: int | None,
    dagster_port: int | None,
    traces_port: int | None,
    chat_port: int | None,
    **options: Any,
) -> int:
    """Run `twin up`, or the demo if `demo_loop` is true; return the exit code.

    Args:
        options: the other fields of `UpOptions`.
    """
    if demo_loop:
        from twin_cli.commands.demo.loop import run_demo

        return run_demo(settings)
    ports = dict(zip(SERVICES, (gateway_port, dagster_port, traces_port, chat_port), strict=True))
    requested_ports = {name: port for name, port in ports.items() if port is not None}
    return run_up(settings, UpOptions(include=include or (), ports=requested_ports, **options))
