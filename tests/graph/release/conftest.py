"""A registry on SQLite in a temporary folder, with a first stable version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.graph.release.releases import pass_the_gate, round_of
from twin_resources.registry.registry import Registry
from twin_resources.storage.state.state import State


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    state = State.open(f"sqlite:///{tmp_path / 'state.sqlite'}")
    made_registry = Registry(state, policy_path=tmp_path / "policy.json")
    pass_the_gate(made_registry, "h1")
    round_of(made_registry)
    yield made_registry
    state.close()
