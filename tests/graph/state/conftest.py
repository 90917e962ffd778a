"""Provide the state store on SQLite in a folder and on the tests' PostgreSQL server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgresql_server import postgresql, postgresql_url
from twin_resources.storage.state.state import State

__all__ = ["postgresql", "postgresql_url"]  # fixtures


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/a folder/state.sqlite"
    url: str = request.getfixturevalue("postgresql_url")
    return url


@pytest.fixture
def state(store_url: str) -> Iterator[State]:
    store = State.open(store_url)
    yield store
    store.close()
