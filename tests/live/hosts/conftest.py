"""Two hosts with one PostgreSQL database and one bucket (moto's server), and a disk each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.graph.conftest import s3_endpoint
from tests.graph.s3 import KEY, REGION, client_of
from tests.live.hosts.host import Host
from tests.postgresql_server import postgresql, postgresql_url

__all__ = ["postgresql", "postgresql_url", "s3_endpoint"]  # fixtures


@pytest.fixture
def shared(s3_endpoint: str, postgresql_url: str) -> dict[str, str]:
    """What the environment of every host says."""
    bucket = postgresql_url.rpartition("/")[2]  # a new one for each database
    client_of(s3_endpoint).create_bucket(Bucket=bucket)
    return {
        "AWS_ENDPOINT": s3_endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": KEY,
        "AWS_REGION": REGION,
        "AWS_ALLOW_HTTP": "true",
        "TWIN_STATE_URL": postgresql_url,
        "TWIN_TABLES_URI": f"s3://{bucket}/tables",
        "TWIN_STORE_URI": f"s3://{bucket}/store",
        "TWIN_BASE_MODEL": "tiny",  # a folder on the host that prepares it, a mere name elsewhere
    }


@pytest.fixture
def hosts(tmp_path: Path, shared: dict[str, str]) -> Iterator[tuple[Host, Host]]:
    made = Host(tmp_path / "a", shared), Host(tmp_path / "b", shared)
    yield made
    for host in made:
        host.stop()
