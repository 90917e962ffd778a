"""Fixtures of the graph tests: a home with the real embedder, its tables, an S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.prepared_embedder import link_weights, prepare_weights
from twin_resources.models.embedder.embedder import Embedder, load_embedder
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables


@pytest.fixture(scope="session")
def embedder_weights() -> Path:
    """Return the folder of prepared weights. Do not write to it, because many homes link to it."""
    return prepare_weights()


@pytest.fixture(scope="session")
def embedder(embedder_weights: Path) -> Embedder:
    """Return the embedder; while it exists, other resources reuse its compiled model."""
    return load_embedder(load_settings(embedder_weights.parent))


@pytest.fixture
def home_with_embedder(home: Settings, embedder_weights: Path, embedder: Embedder) -> Settings:
    return link_weights(embedder_weights, home)


@pytest.fixture
def tables(home: Settings) -> Tables:
    return Tables(home.tables_base, state=open_home_state(home))


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Yield the URL of one S3 server for all tests of a process; each test uses its own bucket."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
