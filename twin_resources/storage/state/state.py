"""The state store: what must change in one transaction (leases, registry, what a table remembers).

Scope: opening SQLite or PostgreSQL, the schema number, transactions, `State.lease`.
Out of scope: rows of data (Lance, `tables/`), what registry rows mean (`registry/`).
Method: SQLite's write-ahead log with `BEGIN IMMEDIATE` (https://www.sqlite.org/wal.html); on
PostgreSQL an advisory lock orders writers (https://www.postgresql.org/docs/15/explicit-locking.html).
"""
# pyright: strict

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError

from twin_resources.errors import TwinError
from twin_resources.longest_waits import MAX_IDLE_S
from twin_resources.private_files import make_private_database
from twin_resources.storage.state import state_tables as state_schema
from twin_resources.storage.state.write_ahead import use_write_ahead_log
from twin_resources.storage.storage_faults import StorageFault, faults_told

if TYPE_CHECKING:
    from twin_resources.storage.state.lease import Lease

# Wait of a writer behind another, whose death ends it: every transaction here is a few rows.
_BUSY_S = MAX_IDLE_S
_KINDS = ("sqlite", "postgresql")
# One number for all writers of this store on PostgreSQL; any constant does ("twin" in ASCII).
_WRITER_LOCK = 0x7477696E


class StateError(TwinError):
    """The state store cannot be opened or is from a newer version of this code."""


class State:
    """One state store, safe to share between threads; make it with `State.open`."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self._shown = engine.url.render_as_string(hide_password=True)

    @classmethod
    def open(cls, url: str) -> State:
        """Open the store at a SQLAlchemy URL and make its tables when it has none.

        Args:
            url: `sqlite:///<path>` or `postgresql://user:password@host/database`.

        Raises:
            StateError: it is neither, its driver is not installed, or its schema number is newer
                than this code's.
            StorageFault: it cannot be opened.
        """
        try:
            shown = sa.make_url(url).render_as_string(hide_password=True)
        except ArgumentError as error:
            raise StateError(
                "open the state store",
                found="TWIN_STATE_URL is no address of a database",
                next_step="write sqlite:////folder/state.sqlite, or "
                "postgresql+psycopg2://user:password@host/database",
            ) from error
        kind = sa.make_url(url).get_backend_name()
        if kind not in _KINDS:
            raise StateError(
                f"open the state store {shown}",
                found=f"a database of the kind {kind!r}",
                next_step="name SQLite or PostgreSQL in TWIN_STATE_URL; the outbox stays a SQLite "
                "file of each machine in any case",
            )
        engine = _engine(sa.make_url(url))
        state = cls(engine)
        try:
            with state.transaction() as connection:
                _check_schema_number(connection, shown)
                state_schema.metadata.create_all(connection)
                add_missing_columns(connection, state_schema.LATER_COLUMNS)
                _drop_retired_tables(connection)
        except DatabaseError as error:
            engine.dispose()
            raise StateError(
                f"open the state store {shown}",
                found=str(error.orig or error).strip(),
                next_step="see TWIN_STATE_URL: is the server up, the folder writable",
            ) from error
        except (StateError, StorageFault):
            engine.dispose()
            raise
        return state

    @contextmanager
    def transaction(self) -> Generator[sa.Connection]:
        """One write transaction: writers come one after the other, an exception rolls back.

        Raises:
            StorageFault: nothing of the transaction is stored.
        """
        with (
            faults_told("write to the state store", self._shown),
            self.engine.connect().execution_options(twin_writes=True) as connection,
            connection.begin(),
        ):
            if connection.dialect.name == "postgresql":
                lock = sa.text("SELECT pg_advisory_xact_lock(:number)")
                connection.execute(lock, {"number": _WRITER_LOCK})
            yield connection

    @contextmanager
    def reading(self) -> Generator[sa.Connection]:
        """One consistent view for reads; never waits for a writer.

        Raises:
            StorageFault: it cannot be read.
        """
        with (
            faults_told("read the state store", self._shown),
            self.engine.connect() as connection,
        ):
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @property
    def is_shared(self) -> bool:
        """Whether other hosts may use it too: it is a server's."""
        return self.engine.dialect.name == "postgresql"

    def now(self, connection: sa.Connection) -> float:
        """Seconds since 1970 by the clock that all users of this store share.

        PostgreSQL serves many machines, so its own clock decides when a lease ends.
        """
        if connection.dialect.name == "postgresql":
            statement = sa.text("SELECT extract(epoch FROM clock_timestamp())")
            return float(connection.execute(statement).scalar_one())
        return time.time()

    def lease(
        self, name: str, *, ttl_s: float = 60.0, wait_s: float = 30.0
    ) -> AbstractContextManager[Lease]:
        """Hold the lease `name` for the length of a `with` block; see `state_lease.hold`."""
        from twin_resources.storage.state.lease import hold

        return hold(self, name, ttl_s=ttl_s, wait_s=wait_s)

    def close(self) -> None:
        """Close the pooled connections; the store opens again at the next use."""
        self.engine.dispose()


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        try:
            return sa.create_engine(url, pool_pre_ping=True)
        except (ModuleNotFoundError, NoSuchModuleError) as error:
            raise StateError(
                f"open the state store {url.render_as_string(hide_password=True)}",
                found=f"its driver is not installed ({error})",
                next_step=f"{sys.executable} -m pip install 'llm-twin[aws]', which brings "
                "psycopg2, and write postgresql+psycopg2://",
            ) from error
    if url.database and url.database != ":memory:":
        path = Path(url.database)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_private_database(path)
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_S})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        # The driver's own BEGIN comes at the first write, too late to wait: we send ours.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_S * 1000}")
        use_write_ahead_log(connection, within_s=_BUSY_S)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        writes = bool(connection.get_execution_options().get("twin_writes", False))
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def add_missing_columns(connection: sa.Connection, columns: Iterable[sa.Column[Any]]) -> None:
    """Columns that a later release gave a table, with their default in the rows that there are.

    Older code reads such a table as before: it names its columns. So the schema number stays.
    """
    for column in columns:
        table = column.table.name
        there = {existing["name"] for existing in sa.inspect(connection).get_columns(table)}
        if column.name not in there:
            spelt = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
            connection.execute(sa.text(f"ALTER TABLE {table} ADD COLUMN {spelt}"))


def _drop_retired_tables(connection: sa.Connection) -> None:
    """Tables that no code reads any more: what they hold of readers must not outlive its use."""
    there = sa.inspect(connection).get_table_names()
    for name in state_schema.RETIRED_TABLES.intersection(there):
        connection.execute(sa.text(f"DROP TABLE {name}"))


def _check_schema_number(connection: sa.Connection, shown: str) -> None:
    table = state_schema.schema_number
    table.create(connection, checkfirst=True)
    stored_number = connection.execute(
        sa.select(table.c.number).where(table.c.store == "state")
    ).scalar()
    if stored_number is None:
        number = state_schema.SCHEMA_NUMBER
        connection.execute(sa.insert(table).values(store="state", number=number))
    elif stored_number > state_schema.SCHEMA_NUMBER:
        raise StateError(
            f"open the state store {shown}",
            found=f"schema number {stored_number}; this code knows up to "
            f"{state_schema.SCHEMA_NUMBER}",
            next_step="run the newer llm-twin that wrote it, or name another TWIN_STATE_URL",
        )
