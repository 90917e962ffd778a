"""Run a PostgreSQL server for the tests, and create empty databases on it.

Scope: starting and stopping the server. Out of scope: tests on it. A `conftest.py` that needs the
fixtures imports them from here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.free_ports import free_port

BINARY_FOLDERS = (Path("/usr/lib/postgresql/15/bin"), *map(Path, os.environ["PATH"].split(":")))


def find_binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs, or None if it is not installed."""
    return next((folder for folder in BINARY_FOLDERS if (folder / "initdb").exists()), None)


def unprivileged_prefix() -> list[str]:
    """Return the command prefix that drops root privileges, which PostgreSQL refuses."""
    return ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []


def start_on_free_port(pg_ctl: list[str], data: Path) -> int:
    """Start the server whose files are below `data`, and return its port."""
    port = free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data} -F"
    log = ["-l", str(data / "log"), "-o", options]
    subprocess.run([*pg_ctl, *log, "start"], check=True, stdout=subprocess.DEVNULL, cwd=data)
    return port


@pytest.fixture(scope="session")
def postgresql() -> Iterator[sa.URL]:
    """Yield the URL of a server that runs until the test session ends; its files are in /tmp."""
    folder = find_binaries()
    if folder is None:
        pytest.skip("PostgreSQL binaries absent")
    with running_server(folder) as server:
        yield server


@contextmanager
def running_server(folder: Path) -> Iterator[sa.URL]:
    """Run a server until the block ends, and yield its URL.

    Args:
        folder: contains PostgreSQL's binaries.
    """
    data = Path(tempfile.mkdtemp(prefix="twin-postgresql-"))
    if os.geteuid() == 0:
        shutil.chown(data, "nobody")
    pg_ctl = [*unprivileged_prefix(), str(folder / "pg_ctl"), "-D", str(data / "data"), "-w"]
    initdb = ["-o", "-A trust -U twin -E UTF8 --no-sync"]
    subprocess.run([*pg_ctl, *initdb, "initdb"], check=True, capture_output=True, cwd=data)
    port = start_on_free_port(pg_ctl, data)
    try:
        yield sa.URL.create(
            "postgresql", username="twin", host="127.0.0.1", port=port, database="postgres"
        )
    finally:
        subprocess.run(
            [*pg_ctl, "-m", "immediate", "stop"], check=True, capture_output=True, cwd=data
        )
        shutil.rmtree(data)


@pytest.fixture
def postgresql_url(postgresql: sa.URL) -> Iterator[str]:
    """Yield the URL of an empty database on that server."""
    with new_database(postgresql) as url:
        yield url


@contextmanager
def new_database(server: sa.URL) -> Iterator[str]:
    """Create an empty database, yield its URL, and drop the database after the block."""
    name = f"t{uuid.uuid4().hex[:12]}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield server.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()
