"""Provide a registry with a first stable version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.graph.release.releases import register_passed_candidate, run_release_round
from twin_resources.registry.registry import Registry
from twin_resources.storage.state.state import State


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    state = State.open(f"sqlite:///{tmp_path / 'state.sqlite'}")
    registry = Registry(state, policy_path=tmp_path / "policy.json")
    register_passed_candidate(registry, "h1")
    run_release_round(registry)
    yield registry
    state.close()
