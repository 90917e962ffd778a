"""A PostgreSQL server of our own, and a database in it: for whatever keeps its rows in SQL.

Scope: starting and ending the server. Out of scope: what is tested on it. A
`conftest.py` that needs the fixtures imports them from here.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

BINARIES = (Path("/usr/lib/postgresql/15/bin"), *map(Path, os.environ["PATH"].split(":")))


def binaries() -> Path | None:
    found = [folder for folder in BINARIES if (folder / "initdb").exists()]
    return found[0] if found else None


def as_nobody_special() -> list[str]:
    """A prefix that leaves root, which PostgreSQL refuses to run as."""
    return ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []


def started_on_a_free_port(base: list[str], data: Path) -> int:
    """The port of the server that was started; tried again where another process took it first."""
    for tries_left in (2, 1, 0):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data} -F"
        log = ["-l", str(data / "log"), "-o", options]
        ran = subprocess.run(
            [*base, *log, "start"], check=tries_left == 0, stdout=subprocess.DEVNULL, cwd=data
        )
        if ran.returncode == 0:
            return port
    raise AssertionError("unreachable: the last try raises")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[sa.URL]:
    """URL of a server that lives as long as the test session; its files are in /tmp."""
    folder = binaries()
    if folder is None:
        pytest.skip("PostgreSQL binaries absent")
    with running_server(folder) as server:
        yield server


@contextmanager
def running_server(folder: Path) -> Iterator[sa.URL]:
    """URL of a server that ends with the block.

    Args:
        folder: of PostgreSQL's binaries.
    """
    data = Path(tempfile.mkdtemp(prefix="twin-postgresql-"))
    if os.geteuid() == 0:
        shutil.chown(data, "nobody")
    base = [*as_nobody_special(), str(folder / "pg_ctl"), "-D", str(data / "data"), "-w"]
    initdb = ["-o", "-A trust -U twin -E UTF8 --no-sync"]
    subprocess.run([*base, *initdb, "initdb"], check=True, capture_output=True, cwd=data)
    port = started_on_a_free_port(base, data)
    try:
        yield sa.URL.create(
            "postgresql", username="twin", host="127.0.0.1", port=port, database="postgres"
        )
    finally:
        subprocess.run(
            [*base, "-m", "immediate", "stop"], check=True, capture_output=True, cwd=data
        )
        shutil.rmtree(data)


@pytest.fixture
def postgresql_url(postgresql: sa.URL) -> Iterator[str]:
    """The URL of an empty database of that server."""
    with new_database(postgresql) as url:
        yield url


@contextmanager
def new_database(server: sa.URL) -> Iterator[str]:
    """The URL of an empty database, which is dropped after the block."""
    name = f"t{uuid.uuid4().hex[:12]}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield server.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()
