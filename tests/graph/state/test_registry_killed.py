"""A process killed in a move leaves nothing half done; the next reconciliation repairs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.graph.state.registry_mover import GATE
from tests.queued_notices import queued_notices
from tests.registered import register_version
from tests.unit.registry.claims_beside import beside_stable
from twin_resources.registry.policy import read_policy
from twin_resources.registry.registry import GateClaim, Registry, Verdict, reconcile
from twin_resources.storage.state.state import State


@pytest.fixture
def registry(state: State, tmp_path: Path) -> Registry:
    """v1 stable, v2 a candidate that has passed."""
    made_registry = Registry(state, policy_path=tmp_path / "policy.json")
    for number in (1, 2):
        register_version(made_registry, "mara", f"h{number}")
        claim = GateClaim("beats_base_model", True, 1.2, 1.0, "perplexity 20 against 24")
        claims = (claim, *beside_stable(made_registry, "mara"))
        made_registry.record_verdict(Verdict("mara", f"h{number}", GATE, "passed", claims, ""))
        if number == 1:
            round_of(made_registry)
    return made_registry


def round_of(registry: Registry) -> list[str]:
    moves = reconcile(registry, "mara", gate_version=GATE, mode="gate", actor="test")
    return [f"v{move.version} {move.to_state}" for move in moves]


def kill_a_mover(url: str, registry: Registry, where: str) -> None:
    """Start the process, wait until it is where it should die, and kill it."""
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


def test_killed_inside_the_transaction_nothing_has_moved(
    registry: Registry, store_url: str
) -> None:
    before = (registry.versions("mara"), registry.moves("mara"), queued_notices(registry.state))
    kill_a_mover(store_url, registry, "inside")
    assert (
        registry.versions("mara"),
        registry.moves("mara"),
        queued_notices(registry.state),
    ) == before
    served = read_policy(registry.policy_path).authors["mara"].stable
    assert served is not None
    assert served.version == 1

    assert round_of(registry) == ["v2 stable"]
    assert queued_notices(registry.state)[0].title == "v2 of mara is stable"
    assert round_of(registry) == []


def test_killed_between_transaction_and_policy_the_next_round_writes_it(
    registry: Registry, store_url: str
) -> None:
    kill_a_mover(store_url, registry, "after")
    assert [item.state for item in registry.versions("mara")] == ["retired", "stable"]
    assert queued_notices(registry.state)[0].title == "v2 of mara is stable"
    old = read_policy(registry.policy_path).authors["mara"].stable
    assert old is not None
    assert old.version == 1

    assert round_of(registry) == [], "it was moved already: once"
    served = read_policy(registry.policy_path).authors["mara"].stable
    assert served is not None
    assert served.version == 2
    assert len(queued_notices(registry.state)) == 2, "one notice a release"
