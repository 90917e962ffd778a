"""Provide the table tests with tables in an empty folder and an SQLite state store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    store = State.open(f"sqlite:///{tmp_path}/state.sqlite")
    yield store
    store.close()


@pytest.fixture
def tables(tmp_path: Path, state: State) -> Tables:
    return Tables(str(tmp_path / "tables"), state=state)
