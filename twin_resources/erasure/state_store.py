"""Erase from the store `state`: ledger, registry, keys, evidence and row keys of tables.

Scope: finding the rows of the state store that contain the erased data, and erasing them
physically. Out of scope: the tables' meaning (`state/`, `ledger/`, `access/keys.py`), the erasure
journal, which is closed last (`journal.py`).

The change detector has already used settled values as evidence, so their sequence must not change.
The reader of a settled value is therefore replaced with a random identifier.
"""
# pyright: strict

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa

from twin_resources.access.account import anonymize, paid_requests
from twin_resources.access.keys import key_id_from_hash
from twin_resources.erasure import journal
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.decoding import find_in_file
from twin_resources.erasure.erasure_target import ErasureTarget
from twin_resources.erasure.postgresql_tables import rewrite_tables
from twin_resources.erasure.sqlite_files import rewrite_database
from twin_resources.quality.ledger.ledger import LEASE as LEDGER_LEASE
from twin_resources.quality.ledger.ledger_tables import open_tables
from twin_resources.storage.state.state_tables import DAGSTER_TABLES
from twin_resources.wait_limits import MAX_WORKING_S

_EXCLUDED_TABLES = frozenset(table.name for table in journal.TABLES) | {"schema_number"}
SETTLED_TABLE, KEYS_TABLE = "ledger_settled", "gateway_keys"


@dataclass(frozen=True)
class StateStore:
    """Every table of the state store except the journal."""

    installation: Installation
    name: str = "state"

    @property
    def path(self) -> Path | None:
        """The SQLite file, or None if the store is on a server."""
        url = self.installation.state.engine.url
        return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None

    def erase(self, target: ErasureTarget) -> int:
        """See `DataStore.erase`."""
        open_tables(self.installation.state)
        erased_count = 0
        # Wait for the lease, because a ledger update that began before the traces were deleted may
        # still store them.
        with (
            self.installation.state.lease(LEDGER_LEASE, wait_s=MAX_WORKING_S),
            self.installation.state.transaction() as connection,
        ):
            for table in _reflect_tables(connection):
                erased_count += _erase_from_table(connection, table, target)
        self.installation.registry.publish()
        self.rewrite()
        return erased_count

    def rewrite(self) -> None:
        """Rewrite the store, so that no free page or log contains deleted data."""
        if self.path is not None:
            self.installation.state.close()  # else `rewrite_database` would wait for this process
            rewrite_database(self.path)
        else:
            engine = self.installation.state.engine
            with engine.connect() as connection:
                names = [table.name for table in _reflect_tables(connection)]
            rewrite_tables(engine, names)

    def find_remaining(self, target: ErasureTarget) -> list[str]:
        """See `DataStore.find_remaining`; the journal's rows are excluded until it is closed."""
        locations: list[str] = []
        with self.installation.state.read_transaction() as connection:
            for table in _reflect_tables(connection):
                rows = connection.execute(sa.select(table))
                locations += [table.name for row in rows if target.matches_value(tuple(row))][:3]
        return locations

    def find_remaining_in_file(self, target: ErasureTarget) -> list[str]:
        """Search the whole file, including free pages and the journal, which must be closed."""
        return find_in_file(self.path, target) if self.path else self.find_remaining(target)


def _reflect_tables(connection: sa.Connection) -> list[sa.Table]:
    metadata = sa.MetaData()
    metadata.reflect(connection, only=lambda name, _: name not in _EXCLUDED_TABLES | DAGSTER_TABLES)
    return list(metadata.sorted_tables)


def _erase_from_table(connection: sa.Connection, table: sa.Table, target: ErasureTarget) -> int:
    erased_count = 0
    if table.name == KEYS_TABLE:
        return _erase_keys(connection, table, target)
    if table.name == paid_requests.name:
        return _anonymize_spending(connection, target)
    if target.is_whole_author and "author" in table.c:
        erased_count += connection.execute(
            sa.delete(table).where(table.c.author == target.author)
        ).rowcount
    rows = connection.execute(sa.select(table)).mappings().all()
    for row in rows:
        values = dict(row)
        if not target.matches_value(tuple(values.values())):
            continue
        erased_count += 1
        is_this_row = sa.and_(*(column == values[column.name] for column in table.primary_key))
        if table.name == SETTLED_TABLE and not target.is_whole_author:
            unit = f"forgotten:{secrets.token_hex(8)}"
            connection.execute(sa.update(table).where(is_this_row).values(unit=unit))
        elif _depends_on_target(values, target) or any(
            target.matches_value(values[column.name]) for column in table.primary_key
        ):
            connection.execute(sa.delete(table).where(is_this_row))
        else:
            cleared_values: dict[str, Any] = {
                column.name: {} if isinstance(column.type, sa.JSON) else ""
                for column in table.c
                if values[column.name] is not None and target.matches_value(values[column.name])
            }
            connection.execute(sa.update(table).where(is_this_row).values(**cleared_values))
    return erased_count


def _depends_on_target(values: Mapping[str, Any], target: ErasureTarget) -> bool:
    """Return whether the whole row must be deleted, because it depends on a trace or a reader."""
    return "trace_id" in values or any(
        isinstance(values.get(name), str) and target.matches_identifier(values[name])
        for name in ("reader", "input_key")
    )


def _erase_keys(connection: sa.Connection, table: sa.Table, target: ErasureTarget) -> int:
    """Delete the reader's key and keys for the author alone; remove the author from other keys."""
    erased_count = 0
    for row in connection.execute(sa.select(table)).mappings().all():
        is_this_key = table.c.key_hash == row["key_hash"]
        authors = cast("list[str]", row["authors"])
        if target.key_hash and row["key_hash"] == target.key_hash:
            erased_count += connection.execute(sa.delete(table).where(is_this_key)).rowcount
        elif target.is_whole_author and target.author in authors:
            remaining_authors = [slug for slug in authors if slug != target.author]
            if remaining_authors:
                connection.execute(
                    sa.update(table).where(is_this_key).values(authors=remaining_authors)
                )
            else:
                connection.execute(sa.delete(table).where(is_this_key))
            erased_count += 1
    return erased_count


def _anonymize_spending(connection: sa.Connection, target: ErasureTarget) -> int:
    """Remove the erased name, but keep the amounts, so that limits still apply."""
    anonymized_count = (
        anonymize(connection, "author", target.author) if target.is_whole_author else 0
    )
    return anonymized_count + (
        anonymize(connection, "key", key_id_from_hash(target.key_hash)) if target.key_hash else 0
    )
