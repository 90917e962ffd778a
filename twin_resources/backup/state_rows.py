"""Copy the state store to a SQLite file, and back into SQLite or PostgreSQL.

Scope: copying rows between databases, and replacing paths in them after a home has moved.
Out of scope: the meaning of rows.
Method: SQLAlchemy reflects the tables in the database, which covers every part of the project.
Tables that the state store creates keep their own definition.
"""
# pyright: strict

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from twin_resources.storage.state.database_files import copy_database
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import DAGSTER_TABLES

_ROWS_PER_INSERT = 1_000
_CAST = re.compile(r"::[\w ]+(\(\d+\))?")  # a PostgreSQL cast in a default


def save_state(address: str, path: Path) -> None:
    """Write a consistent snapshot of the state store at a URL to a SQLite file.

    Raises:
        StorageError: the store cannot be read, or there is not enough space.
    """
    if (file := sqlite_file(address)) is not None:
        copy_database(file, path)
    else:
        with (
            closing(State.open(address)) as source,
            closing(_open_sqlite_state(path)) as target,
            source.read_transaction() as source_connection,
            target.transaction() as target_connection,
        ):
            copy_rows(source_connection, target_connection)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = DELETE")


def restore_state(file: Path, address: str) -> None:
    """Replace the rows of the state store at a URL with those of a saved store.

    Raises:
        StorageError: the store cannot be written.
    """
    if (target_file := sqlite_file(address)) is not None:
        target_file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target_file)
        return
    with (
        closing(_open_sqlite_state(file)) as source,
        closing(State.open(address)) as target,
        source.read_transaction() as source_connection,
        target.transaction() as target_connection,
    ):
        copy_rows(source_connection, target_connection)


def sqlite_file(address: str) -> Path | None:
    """Return the file of a SQLite URL, or None for another database."""
    url = sa.make_url(address)
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def copy_rows(source: sa.Connection, target: sa.Connection) -> None:
    """Replace all rows of the target with those of the source, creating missing tables."""
    source_schema = _reflect_schema(source)
    existing_names = set(sa.inspect(target).get_table_names())
    for table in source_schema.sorted_tables:
        if table.name not in existing_names:
            _to_portable_table(table).create(target)
    target_schema = _reflect_schema(target)
    for table in reversed(target_schema.sorted_tables):
        target.execute(sa.delete(table))
    for table in source_schema.sorted_tables:
        target_table = target_schema.tables[table.name]
        rows = source.execute(sa.select(table)).mappings()
        for batch in rows.partitions(_ROWS_PER_INSERT):
            target.execute(
                sa.insert(target_table), [_restore_nulls(target_table, row) for row in batch]
            )
        if target.dialect.name == "postgresql":
            _advance_sequences(target, target_table)


def _reflect_schema(connection: sa.Connection) -> sa.MetaData:
    schema = sa.MetaData()
    schema.reflect(connection, only=lambda name, _: name not in DAGSTER_TABLES)
    return schema


def _restore_nulls(table: sa.Table, row: sa.RowMapping) -> dict[str, object]:
    """Return the row with None in JSON columns as SQL NULL, as it was stored."""
    columns: Any = table.c
    return {
        str(name): sa.null() if value is None and isinstance(columns[name].type, sa.JSON) else value
        for name, value in row.items()
    }


def _to_portable_table(table: sa.Table) -> sa.Table:
    """Return the table with types and defaults that all databases support."""
    portable_table = table.to_metadata(sa.MetaData())
    columns: Any = portable_table.columns
    for column in columns:
        column.type = column.type.as_generic()
        is_flag = isinstance(column.type, sa.Boolean)
        if isinstance(default := column.server_default, sa.DefaultClause):
            column.server_default = _make_portable_default(str(default.arg), is_flag=is_flag)
    return portable_table


def _make_portable_default(text: str, *, is_flag: bool) -> sa.DefaultClause | None:
    """Return a portable default, or None for a sequence, which differs between databases."""
    if text.startswith("nextval("):
        return None
    if is_flag:
        return sa.DefaultClause(sa.false() if text in {"0", "false"} else sa.true())
    return sa.DefaultClause(sa.text(_CAST.sub("", text)))


def _advance_sequences(connection: sa.Connection, table: sa.Table) -> None:
    """Make PostgreSQL's sequences continue after the largest copied value."""
    for column in table.primary_key:
        name = connection.execute(
            sa.select(sa.func.pg_get_serial_sequence(f'"{table.name}"', column.name))
        ).scalar()
        if name:
            max_value = connection.execute(sa.select(sa.func.max(column))).scalar()
            connection.execute(
                sa.select(sa.func.setval(name, max_value or 1, max_value is not None))
            )


def _open_sqlite_state(file: Path) -> State:
    return State.open(f"sqlite:///{file}")


def move_paths(file: Path, moved_paths: Mapping[str, str]) -> None:
    """Replace old folders with new ones in all texts of a SQLite file.

    Args:
        moved_paths: old folder → new folder, without a trailing slash.
    """

    def replace_paths_in_value(text: str) -> str:
        return replace_paths(text, moved_paths)

    with closing(sqlite3.connect(file)) as connection, connection:
        connection.create_function("moved", 1, replace_paths_in_value)
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        for (table,) in connection.execute(query).fetchall():
            for _, column, *_ in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
                for old in moved_paths:
                    connection.execute(
                        f'UPDATE "{table}" SET "{column}" = moved("{column}") '
                        f'WHERE typeof("{column}") = \'text\' AND instr("{column}", ?)',
                        (old,),
                    )


def replace_paths(text: str, moved_paths: Mapping[str, str]) -> str:
    """Return a text with each old folder replaced by the new one, alone or in a longer path."""
    if not moved_paths:
        return text
    # Longer paths come first, because tables may be inside a home.
    old_pattern = "|".join(re.escape(old) for old in sorted(moved_paths, key=len, reverse=True))
    return re.sub(
        rf"(?<![\w.-])({old_pattern})(?![\w.-])", lambda match: moved_paths[match[1]], text
    )
