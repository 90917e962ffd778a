"""Provide two hosts that share a home, a PostgreSQL database and a bucket (moto)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.graph.conftest import s3_endpoint
from tests.live.hosts.host import Host, shared_environment
from tests.postgresql_server import postgresql, postgresql_url

__all__ = ["postgresql", "postgresql_url", "s3_endpoint"]  # fixtures


@pytest.fixture
def shared(s3_endpoint: str, postgresql_url: str) -> dict[str, str]:
    """Return the environment variables that all hosts share."""
    return shared_environment(s3_endpoint, postgresql_url)


@pytest.fixture
def hosts(tmp_path: Path, shared: dict[str, str]) -> Iterator[tuple[Host, Host]]:
    first = Host(tmp_path / "a", shared)
    pair = first, Host(tmp_path / "b", shared, first)
    yield pair
    for host in pair:
        host.stop()
