"""Open the transactional state store, which holds the registry and table bookkeeping.

Scope: opening SQLite or PostgreSQL, the schema version, transactions, `State.lease`.
Out of scope: data rows (Lance, `tables/`), the meaning of registry rows (`registry/`).
Method: SQLite's write-ahead log with `BEGIN IMMEDIATE` (https://www.sqlite.org/wal.html). On
PostgreSQL, an advisory lock orders writers
(https://www.postgresql.org/docs/15/explicit-locking.html).
"""
# pyright: strict

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError

from twin_resources.errors import TwinError
from twin_resources.private_files import make_private_database
from twin_resources.storage.state import state_tables
from twin_resources.storage.state.write_ahead import enable_write_ahead_log
from twin_resources.storage.storage_faults import StorageError, translate_storage_errors
from twin_resources.wait_limits import MAX_IDLE_S

if TYPE_CHECKING:
    from twin_resources.storage.state.lease import Lease

# A writer waits at most this long for another writer. Transactions write only a few rows, and a
# dead writer blocks no one.
_BUSY_TIMEOUT_S = MAX_IDLE_S
_BACKENDS = ("sqlite", "postgresql")
# The lock number of all writers of this store on PostgreSQL. The constant is "twin" in ASCII.
_WRITER_LOCK = 0x7477696E


class StateError(TwinError):
    """The state store cannot be opened, or a newer version of this code wrote it."""


class State:
    """One state store, which threads can share; open it with `State.open`."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self._redacted_url = engine.url.render_as_string(hide_password=True)

    @classmethod
    def connect(cls, url: str) -> State:
        """Return the store at a SQLAlchemy URL, without reading it or creating its tables.

        Args:
            url: `sqlite:///<path>` or `postgresql://user:password@host/database`.

        Raises:
            StateError: the URL is for another kind of database, or the driver is not installed.
        """
        try:
            parsed_url = sa.make_url(url)
        except ArgumentError as error:
            raise StateError(
                "open the state store",
                found="TWIN_STATE_URL is not a database address",
                next_step="set it to sqlite:////folder/state.sqlite, or "
                "postgresql+psycopg2://user:password@host/database",
            ) from error
        backend = parsed_url.get_backend_name()
        if backend not in _BACKENDS:
            raise StateError(
                f"open the state store {parsed_url.render_as_string(hide_password=True)}",
                found=f"a database of type {backend!r}",
                next_step="use SQLite or PostgreSQL in TWIN_STATE_URL; each machine keeps its "
                "outbox in a SQLite file in either case",
            )
        return cls(_create_engine(parsed_url))

    @classmethod
    def open(cls, url: str) -> State:
        """Connect to the store at a SQLAlchemy URL and create missing tables.

        Raises:
            StateError: see `connect`; or the schema version is newer than this code's.
            StorageError: the store cannot be opened.
        """
        state = cls.connect(url)
        try:
            with state.transaction() as connection:
                _check_schema_version(connection, state._redacted_url)
                state_tables.metadata.create_all(connection)
        except DatabaseError as error:
            state.close()
            raise StateError(
                f"open the state store {state._redacted_url}",
                found=str(error.orig or error).strip(),
                next_step="check TWIN_STATE_URL; its server must be running, or its folder must be "
                "writable",
            ) from error
        except (StateError, StorageError):
            state.close()
            raise
        return state

    @contextmanager
    def transaction(self) -> Generator[sa.Connection]:
        """Open a write transaction, one at a time; roll back after an exception.

        Raises:
            StorageError: the transaction failed, and nothing was stored.
        """
        with (
            translate_storage_errors("write to the state store", self._redacted_url),
            self.engine.connect().execution_options(twin_writes=True) as connection,
            connection.begin(),
        ):
            if connection.dialect.name == "postgresql":
                lock = sa.text("SELECT pg_advisory_xact_lock(:number)")
                connection.execute(lock, {"number": _WRITER_LOCK})
            yield connection

    @contextmanager
    def read_transaction(self) -> Generator[sa.Connection]:
        """Open a read transaction: a consistent view that never waits for a writer.

        Raises:
            StorageError: the store cannot be read.
        """
        with (
            translate_storage_errors("read the state store", self._redacted_url),
            self.engine.connect() as connection,
        ):
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @property
    def is_shared(self) -> bool:
        """Whether other hosts can use this store (PostgreSQL)."""
        return self.engine.dialect.name == "postgresql"

    def now(self, connection: sa.Connection) -> float:
        """Return the seconds since 1970 on the clock that all users of this store share.

        PostgreSQL serves many machines, so its own clock decides.
        """
        if connection.dialect.name == "postgresql":
            statement = sa.text("SELECT extract(epoch FROM clock_timestamp())")
            return float(connection.execute(statement).scalar_one())
        return time.time()

    def lease(self, name: str, *, wait_s: float = 30.0) -> AbstractContextManager[Lease]:
        """Hold the lease `name` during a `with` block; see `hold_lease`."""
        from twin_resources.storage.state.lease import hold_lease

        return hold_lease(self, name, wait_s=wait_s)

    def close(self) -> None:
        """Close the pooled connections; the next use opens new ones."""
        self.engine.dispose()


def _create_engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        try:
            return sa.create_engine(url, pool_pre_ping=True)
        except (ModuleNotFoundError, NoSuchModuleError) as error:
            raise StateError(
                f"open the state store {url.render_as_string(hide_password=True)}",
                found=f"its driver is not installed ({error})",
                next_step=f"run {sys.executable} -m pip install 'llm-twin[aws]', which installs "
                "psycopg2, and begin the URL with postgresql+psycopg2://",
            ) from error
    if url.database and url.database != ":memory:":
        path = Path(url.database)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_private_database(path)
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        # The driver sends BEGIN at the first write, too late to wait. `_begin` sends it instead.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_S * 1000}")
        enable_write_ahead_log(connection, timeout_s=_BUSY_TIMEOUT_S)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        writes = bool(connection.get_execution_options().get("twin_writes", False))
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _check_schema_version(connection: sa.Connection, redacted_url: str) -> None:
    table = state_tables.schema_versions
    table.create(connection, checkfirst=True)
    stored_number = connection.execute(
        sa.select(table.c.number).where(table.c.store == "state")
    ).scalar()
    if stored_number is None:
        number = state_tables.SCHEMA_VERSION
        connection.execute(sa.insert(table).values(store="state", number=number))
    elif stored_number > state_tables.SCHEMA_VERSION:
        raise StateError(
            f"open the state store {redacted_url}",
            found=f"schema version {stored_number}; this code reads up to "
            f"{state_tables.SCHEMA_VERSION}",
            next_step="run the newer llm-twin that wrote it, or set a different TWIN_STATE_URL",
        )
