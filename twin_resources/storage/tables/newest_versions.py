"""Find a table's newest version without a request to S3 if the table cannot have changed.

Scope: caching the version of each table until another process may have written to it.
Out of scope: the leases that every write needs (`storage/state/lease.py`), opening a table (its
readers).

To find the newest version, S3 must list the table's versions. That takes tens of milliseconds, and
a question needs four of these requests. The state store records who last held a table's lease, so
a reader sends a request to S3 only after a write, or during one.
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import sqlalchemy as sa

from twin_resources.errors import TwinError
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import ended_leases, leases

# An older release on another host does not record the end of a lease, so the version is read from
# S3 at least this often.
MAX_UNCHECKED_S = 60.0


FindVersion = Callable[[str, Callable[[], int]], int]
"""A function of a table's address and a version reader that returns the newest version."""


def read_newest_version(_uri: str, read_version: Callable[[], int]) -> int:
    """Read the version each time, which is fast for a table in a folder."""
    return read_version()


def lease_name(uri: str) -> str:
    """Return the name of the lease that every writer of a table needs."""
    return f"table {uri}"


def list_written_tables(state: State, base_uri: str) -> set[tuple[str, str]]:
    """Return the author and asset of each table under a base address that was ever written here.

    Every writer creates the table under its lease, and the store keeps the lease's last holder. A
    table that is missing now was therefore lost, unless `forget_written_tables` was called.
    """
    prefix = lease_name(f"{base_uri.rstrip('/')}/")
    with state.read_transaction() as connection:
        if not sa.inspect(connection).has_table(ended_leases.name):
            return set()
        has_prefix = ended_leases.c.name.startswith(prefix, autoescape=True)
        names = connection.execute(sa.select(ended_leases.c.name).where(has_prefix)).scalars()
        paths = [name.removeprefix(prefix).removesuffix(".lance").split("/") for name in names]
    return {(path[0], path[1]) for path in paths if len(path) == 2}


def forget_written_tables(state: State, uris: Collection[str]) -> None:
    """Forget that these tables, which were deleted on purpose, were ever written."""
    with state.transaction() as connection:
        names = list(map(lease_name, uris))
        connection.execute(sa.delete(ended_leases).where(ended_leases.c.name.in_(names)))


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
        """Return the last lease holder; None during a write or if the store cannot be read."""
        name = lease_name(uri)
        last_holder = sa.select(ended_leases.c.holder).where(ended_leases.c.name == name)
        holder_count = sa.select(sa.func.count()).where(leases.c.name == name)
        columns = (last_holder.scalar_subquery(), holder_count.scalar_subquery())
        try:
            self._state = self._state or self.open_state()
            with self._state.read_transaction() as connection:
                row = connection.execute(sa.select(*columns)).one()
        except TwinError:
            return None  # the version is then read from the table's storage
        return None if row[1] else str(row[0] or "")
