"""Provide functions that the registry tests run in other processes, without assertions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twin_resources.registry.registry import Registry, reconcile
from twin_resources.storage.state.state import State

GATE = "gate-1"


def reconcile_when_all_are_ready(url: str, policy: Path, barrier: Any, out: Path) -> None:
    """Reconcile at the same moment as another process, and write the moves to a file."""
    registry = Registry(State.open(url), policy_path=policy)
    barrier.wait()
    moves = reconcile(registry, "mara", gate_version=GATE, mode="gate", actor="test")
    out.write_text(json.dumps([[move.version, move.to_state] for move in moves]))


def route_many_times(url: str, policy: Path, author: str, times: int) -> None:
    """Store routing tables one after the other; each rewrites the policy."""
    registry = Registry(State.open(url), policy_path=policy)
    for number in range(times):
        registry.set_routing(author, {"number": number})
