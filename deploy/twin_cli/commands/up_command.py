"""Run `twin up` with the options of the command line; the stages are in `up.py`."""
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
    include: Sequence[str] | None,
    exclude: Sequence[str] | None,
    gateway_port: int | None,
    dagster_port: int | None,
    traces_port: int | None,
    chat_port: int | None,
    **options: Any,
) -> int:
    """Run `twin up`; return the exit code.

    Args:
        options: the other fields of `UpOptions`.
    """
    ports = dict(zip(SERVICES, (gateway_port, dagster_port, traces_port, chat_port), strict=True))
    requested_ports = {name: port for name, port in ports.items() if port is not None}
    options |= {"include": include or (), "exclude": exclude or (), "ports": requested_ports}
    return run_up(settings, UpOptions(**options))
