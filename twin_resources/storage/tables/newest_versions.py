"""Find a table's newest version without a request to S3 if the table cannot have changed.

Scope: caching the version of each table until another process may have written to it.
Out of scope: opening a table (its readers).

To find the newest version, S3 must list the table's versions. That takes tens of milliseconds, and
a question needs four of these requests. The state store records who writes a table and who wrote it
last, so a reader sends a request to S3 only after a write, or during one.
"""
# pyright: strict

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import sqlalchemy as sa

from twin_resources.errors import TwinError
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import upsert, written_tables
from twin_resources.storage.storage_faults import StorageError

# Another program may write to the bucket, so the version is read from S3 at least this often.
MAX_UNCHECKED_S = 60.0


FindVersion = Callable[[str, Callable[[], int]], int]
"""A function of a table's address and a version reader that returns the newest version."""


def read_newest_version(_uri: str, read_version: Callable[[], int]) -> int:
    """Read the version each time, which is fast for a table in a folder."""
    return read_version()


def lease_name(uri: str) -> str:
    """Return the name of the lease that every writer of a table needs."""
    return f"table {uri}"


@contextmanager
def record_write(state: State, uri: str) -> Generator[None]:
    """Record in the state store that this process writes a table, and then that it has written it.

    Until the end is recorded, a reader looks at the table itself.

    Raises:
        StorageError: the begin cannot be recorded.
    """
    writer = uuid.uuid4().hex
    with state.transaction() as connection:
        upsert(connection, written_tables, [{"table_uri": uri, "writer": writer}])
    try:
        yield
    finally:
        # The error raised in the block may have the same cause (a full disk) and must be seen.
        with suppress(StorageError), state.transaction() as connection:
            connection.execute(
                sa.update(written_tables)
                .where(written_tables.c.table_uri == uri)
                .values(last_writer=writer, writer="")
            )


def list_written_tables(state: State, base_uri: str) -> set[tuple[str, str]]:
    """Return the author and asset of each table under a base address that was ever written here.

    A table that is missing now was therefore lost, unless `forget_written_tables` was called.
    """
    prefix, uri = f"{base_uri.rstrip('/')}/", written_tables.c.table_uri
    with state.read_transaction() as connection:
        if not sa.inspect(connection).has_table(written_tables.name):
            return set()
        is_here = (uri.startswith(prefix, autoescape=True), written_tables.c.last_writer != "")
        uris = connection.execute(sa.select(uri).where(*is_here)).scalars()
        paths = [uri.removeprefix(prefix).removesuffix(".lance").split("/") for uri in uris]
    return {(path[0], path[1]) for path in paths if len(path) == 2}


def forget_written_tables(state: State, uris: Collection[str]) -> None:
    """Forget that these tables, which were deleted on purpose, were ever written."""
    with state.transaction() as connection:
        connection.execute(
            sa.delete(written_tables).where(written_tables.c.table_uri.in_(list(uris)))
        )


@dataclass
class NewestVersions:
    """The newest versions that one process has seen; safe to use from several threads.

    Attributes:
        open_state: opens the state store that all writers of the tables use; called once.
        clock: monotonic clock in seconds.
    """

    open_state: Callable[[], State]
    clock: Callable[[], float] = time.monotonic
    _state: State | None = None
    _cached_versions: dict[str, tuple[str, int, float]] = field(
        default_factory=dict[str, tuple[str, int, float]]
    )

    def find_version(self, uri: str, read_version: Callable[[], int]) -> int:
        """Return a table's newest version.

        Args:
            uri: address of the table.
            read_version: reads the version from storage; called if a write may have taken place.
        """
        last_writer = self._read_last_writer(uri)
        cached_version = self._cached_versions.get(uri)
        if (
            cached_version is not None
            and last_writer == cached_version[0]
            and self.clock() < cached_version[2]
        ):
            return cached_version[1]
        version = read_version()
        if last_writer is not None:
            self._cached_versions[uri] = (last_writer, version, self.clock() + MAX_UNCHECKED_S)
        return version

    def _read_last_writer(self, uri: str) -> str | None:
        """Return the last writer; None during a write or if the store cannot be read."""
        writers = sa.select(written_tables.c.writer, written_tables.c.last_writer)
        try:
            self._state = self._state or self.open_state()
            with self._state.read_transaction() as connection:
                row = connection.execute(writers.where(written_tables.c.table_uri == uri)).first()
        except TwinError:
            return None  # the version is then read from the table's storage
        if row is None:
            return ""
        return None if row.writer else str(row.last_writer)
