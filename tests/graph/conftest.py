"""Fixtures of the graph tier: a home with the real embedder, and the tables in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.prepared_embedder import lend_weights, prepare_weights
from twin_resources.embedder import Embedder, load_embedder
from twin_resources.settings import Settings
from twin_resources.state import State
from twin_resources.tables import Tables


@pytest.fixture(scope="session")
def embedder_weights(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Prepared once for all workers of a run (`prepare` holds a lock)."""
    base = tmp_path_factory.getbasetemp()
    return prepare_weights(base if worker_id == "master" else base.parent)


@pytest.fixture
def home_with_embedder(home: Settings, embedder_weights: Path) -> Settings:
    return lend_weights(embedder_weights, home)


@pytest.fixture
def embedder(home_with_embedder: Settings) -> Embedder:
    return load_embedder(home_with_embedder)


@pytest.fixture
def tables(home: Settings) -> Tables:
    return Tables(home.tables_base, state=State.open(home.state_address))
