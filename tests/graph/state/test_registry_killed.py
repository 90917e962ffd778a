"""Test that a killed move is complete or absent, and that the next reconciliation continues."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.graph.state.registry_mover import GATE
from tests.model_versions import register_version
from tests.queued_notices import queued_notices
from tests.unit.registry.comparison_claims import make_stable_claims
from twin_resources.registry.moves import GateClaim, Verdict
from twin_resources.registry.policy import read_policy
from twin_resources.registry.registry import Registry, reconcile
from twin_resources.storage.state.state import State


@pytest.fixture
def registry(state: State, tmp_path: Path) -> Registry:
    """Return a registry with a stable v1 and a candidate v2 that passed the gate."""
    registry = Registry(state, policy_path=tmp_path / "policy.json")
    for number in (1, 2):
        register_version(registry, "mara", f"h{number}")
        claim = GateClaim("beats_base_model", True, 1.2, 1.0, "perplexity 20 against 24")
        claims = (claim, *make_stable_claims(registry, "mara"))
        registry.record_verdict(Verdict("mara", f"h{number}", GATE, "passed", claims, ""))
        if number == 1:
            run_reconciliation(registry)
    return registry


def run_reconciliation(registry: Registry) -> list[str]:
    moves = reconcile(registry, "mara", gate_version=GATE, mode="gate", actor="test")
    return [f"v{move.version} {move.to_state}" for move in moves]


def kill_during_move(url: str, registry: Registry, where: str) -> None:
    """Start a process, wait until it reaches the given point of the move, and kill it."""
    arguments = [url, str(registry.policy_path), where]
    mover = subprocess.Popen(
        [sys.executable, "-m", "tests.graph.state.registry_killed", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert mover.stdout is not None
    assert mover.stdout.readline() == "here\n"
    mover.kill()
    assert mover.wait(30) == -9
    mover.stdout.close()


def test_a_kill_inside_the_transaction_moves_nothing(registry: Registry, store_url: str) -> None:
    before = (registry.versions("mara"), registry.moves("mara"), queued_notices(registry.state))
    kill_during_move(store_url, registry, "inside")
    assert (
        registry.versions("mara"),
        registry.moves("mara"),
        queued_notices(registry.state),
    ) == before
    stable = read_policy(registry.policy_path).authors["mara"].stable
    assert stable is not None
    assert stable.version == 1

    assert run_reconciliation(registry) == ["v2 stable"]
    assert queued_notices(registry.state)[0].title == "v2 of mara is stable"
    assert run_reconciliation(registry) == []


def test_the_policy_is_written_after_a_kill_between_transaction_and_policy(
    registry: Registry, store_url: str
) -> None:
    kill_during_move(store_url, registry, "after")
    assert [item.state for item in registry.versions("mara")] == ["retired", "stable"]
    assert queued_notices(registry.state)[0].title == "v2 of mara is stable"
    stable_before = read_policy(registry.policy_path).authors["mara"].stable
    assert stable_before is not None
    assert stable_before.version == 1

    assert run_reconciliation(registry) == [], "the version was moved twice"
    stable = read_policy(registry.policy_path).authors["mara"].stable
    assert stable is not None
    assert stable.version == 2
    assert len(queued_notices(registry.state)) == 2, "expected one notice for each release"
