"""The store `state`: erase from the ledger, registry, keys, evidence and tables' remembered keys.

Scope: finding the rows of the state store that hold the erased data, and erasing them physically.
Out of scope: the tables' meaning (`state/`, `ledger/`, `access/keys.py`), the erasure journal,
which is closed last (`journal.py`).

A settled value is a number that a bet depended on, and the detector's sequence must not change. Its
reader is therefore replaced by a random word that cannot be traced back.
"""
# pyright: strict

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa

from twin_resources.access.account_rows import TABLES as SPENDING
from twin_resources.access.account_rows import unname
from twin_resources.access.keys import gateway_key_limits, id_of_hash
from twin_resources.erasure import journal
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.decoding import held_in
from twin_resources.erasure.erasure_target import ErasureTarget
from twin_resources.erasure.postgresql_tables import rewrite_tables
from twin_resources.erasure.sqlite_files import rewrite
from twin_resources.longest_waits import MAX_WORKING_S
from twin_resources.quality.ledger.ledger import LEASE as LEDGER
from twin_resources.quality.ledger.ledger_tables import open_tables
from twin_resources.storage.state.state_tables import DAGSTERS_TABLES

_OURS = frozenset(table.name for table in journal.TABLES) | {"schema_number"}
SETTLED, KEYS = "ledger_settled", "gateway_keys"


@dataclass(frozen=True)
class StateStore:
    """Every table of the state store except the journal."""

    instance: Installation
    name: str = "state"

    @property
    def path(self) -> Path | None:
        """The SQLite file, or None if the store is on a server."""
        url = self.instance.state.engine.url
        return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None

    def erase(self, gone: ErasureTarget) -> int:
        """See `DataStore.erase`."""
        open_tables(self.instance.state)
        erased = 0
        # The lease waits for a ledger reading that began before the traces were deleted, because
        # it may still store them.
        with (
            self.instance.state.lease(LEDGER, wait_s=MAX_WORKING_S),
            self.instance.state.transaction() as connection,
        ):
            for table in _tables(connection):
                erased += _erase(connection, table, gone)
        forgotten = gone.author if gone.whole_author else ""
        self.instance.registry.publish(forgotten=forgotten)  # the policy follows the registry
        self.rewrite()
        return erased

    def rewrite(self) -> None:
        """Rewrite the store, so that no free page or log holds what was deleted."""
        if self.path is not None:
            self.instance.state.close()  # otherwise `rewrite` would wait for this process
            rewrite(self.path)
        else:
            engine = self.instance.state.engine
            with engine.connect() as connection:
                names = [table.name for table in _tables(connection)]
            rewrite_tables(engine, names)

    def holds(self, gone: ErasureTarget) -> list[str]:
        """See `DataStore.holds`; the journal's own rows are excluded until it is closed."""
        places: list[str] = []
        with self.instance.state.reading() as connection:
            for table in _tables(connection):
                rows = connection.execute(sa.select(table)).mappings()
                places += [table.name for row in rows if _holds(dict(row), gone)][:3]
        return places

    def holds_at_all(self, gone: ErasureTarget) -> list[str]:
        """Search the whole file, free pages and journal included, once the journal is closed."""
        if self.path is None:
            return self.holds(gone)
        where = held_in(self.path, gone)
        return [where] if where else []


def _tables(connection: sa.Connection) -> list[sa.Table]:
    known = sa.MetaData()
    known.reflect(connection, only=lambda name, _: name not in _OURS | DAGSTERS_TABLES)
    return list(known.sorted_tables)


def _holds(row: Mapping[str, Any], gone: ErasureTarget) -> bool:
    return any(value is not None and gone.is_among(value) for value in row.values())


def _erase(connection: sa.Connection, table: sa.Table, gone: ErasureTarget) -> int:
    erased = 0
    if table.name == KEYS:
        return _erase_keys(connection, table, gone)
    if table.name in SPENDING:
        return _unname_spending(connection, table, gone)
    if gone.whole_author and "author" in table.c:
        erased += connection.execute(sa.delete(table).where(table.c.author == gone.author)).rowcount
    rows = connection.execute(sa.select(table)).mappings().all()
    for row in rows:
        values = dict(row)
        if not _holds(values, gone):
            continue
        erased += 1
        mine = sa.and_(*(column == values[column.name] for column in table.primary_key))
        if table.name == SETTLED and not gone.whole_author:
            unit = f"forgotten:{secrets.token_hex(8)}"
            connection.execute(sa.update(table).where(mine).values(unit=unit))
        elif _is_of_a_trace(values, gone) or any(
            gone.is_among(values[column.name]) for column in table.primary_key
        ):
            connection.execute(sa.delete(table).where(mine))
        else:
            blank: dict[str, Any] = {
                column.name: {} if isinstance(column.type, sa.JSON) else ""
                for column in table.c
                if values[column.name] is not None and gone.is_among(values[column.name])
            }
            connection.execute(sa.update(table).where(mine).values(**blank))
    return erased


def _is_of_a_trace(values: Mapping[str, Any], gone: ErasureTarget) -> bool:
    """Return whether to delete the whole row: it means nothing without its trace or its reader."""
    return "trace_id" in values or any(
        isinstance(values.get(name), str) and gone.is_value(values[name])
        for name in ("reader", "input_key")
    )


def _erase_keys(connection: sa.Connection, table: sa.Table, gone: ErasureTarget) -> int:
    """Delete the reader's key and keys for only the author; remove the author from others."""
    erased = 0
    for row in connection.execute(sa.select(table)).mappings().all():
        mine = table.c.key_hash == row["key_hash"]
        reached = cast("list[str]", row["authors"])
        if gone.key_hash and row["key_hash"] == gone.key_hash:
            erased += connection.execute(sa.delete(table).where(mine)).rowcount
        elif gone.whole_author and gone.author in reached:
            left = [slug for slug in reached if slug != gone.author]
            if left:
                connection.execute(sa.update(table).where(mine).values(authors=left))
            else:
                connection.execute(sa.delete(table).where(mine))
            erased += 1
    if sa.inspect(connection).has_table(gateway_key_limits.name):
        known = sa.select(table.c.key_hash)
        of_nobody = gateway_key_limits.c.key_hash.not_in(known)
        connection.execute(sa.delete(gateway_key_limits).where(of_nobody))
    return erased


def _unname_spending(connection: sa.Connection, table: sa.Table, gone: ErasureTarget) -> int:
    """Keep the amounts, so that limits hold, and remove the name of whoever is erased."""
    if table.name != SPENDING[0]:
        return 0  # `unname` covers both tables at once
    erased = unname(connection, "author", gone.author) if gone.whole_author else 0
    return erased + (unname(connection, "key", id_of_hash(gone.key_hash)) if gone.key_hash else 0)
