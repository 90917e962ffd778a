"""Run queries over frames in an in-memory DuckDB database.

Scope: opening the database without file or network access, registering frames with declared types,
and running a rendered query. Only registered frames exist, so a query reads only its declared
inputs.
Out of scope: choosing the query (`mart.py`) and storing the rows.
Settings: https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview

The database is in memory because only one process can open a DuckDB file for writing, and each
step runs in its own process.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

import polars as pl

from twin_assets.analytics.declarations import Column, SqlProjectError

if TYPE_CHECKING:
    from twin_assets.analytics.rendering import RenderedSql

MEMORY_LIMIT = "2GB"
Relation = tuple[str, str]  # schema ("" for a model) and name
Frame = pl.DataFrame | pl.LazyFrame


class DuckDBSession:
    """An in-memory database that exists until the end of the `with` block."""

    def __init__(self) -> None:
        import duckdb

        # With several threads, a sum's last digit depends on their order, so unchanged rows would
        # be written again.
        self._connection = duckdb.connect(":memory:", config={"threads": 1})
        for setting in (
            f"memory_limit = '{MEMORY_LIMIT}'",
            "TimeZone = 'UTC'",  # days are UTC days in any local time zone
            "python_enable_replacements = false",  # a table name must not match a Python variable
            "autoinstall_known_extensions = false",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            self._connection.execute(f"SET {setting}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def register(self, relation: Relation, frame: Frame, columns: Sequence[Column]) -> None:
        """Register a frame as a table with exactly these columns.

        From a LazyFrame, DuckDB reads only the columns that a query uses.

        Raises:
            SqlProjectError: a column is missing or cannot be cast to its declared type.
        """
        schema, name = relation
        rows_view = f"{schema}_{name}__rows"
        self._connection.register(rows_view, frame)
        select_list = ", ".join(
            f'"{column.name}"::{column.data_type} as "{column.name}"' for column in columns
        )
        if schema:
            self._connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        view_name = f'"{schema}"."{name}"' if schema else f'"{name}"'
        try:
            self._connection.execute(
                f'CREATE VIEW {view_name} AS SELECT {select_list} FROM "{rows_view}"'
            )
        except _duckdb_errors() as error:
            raise SqlProjectError(
                f"read {'.'.join(name_part for name_part in relation if name_part)}",
                found=str(error),
                next_step="declare the table's actual columns and types in schema.yml",
            ) from error

    def query_rows(self, query: RenderedSql) -> pl.DataFrame:
        """Run a query and return its rows.

        Raises:
            SqlProjectError: DuckDB cannot run it; the message shows the line of the rendered SQL.
        """
        try:
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE __rows AS\n{query.sql}")
            return self._connection.sql("FROM __rows").pl()
        except _duckdb_errors() as error:
            raise SqlProjectError(
                f"run {query.name}", found=str(error), next_step="correct the SQL"
            ) from error

    def check_types(self, query: RenderedSql, columns: Sequence[Column]) -> None:
        """Check that the columns of the last query match the declared ones.

        Raises:
            SqlProjectError: a name, a type or the order differs.
        """
        column_rows = self._connection.execute("DESCRIBE __rows").fetchall()
        returned_columns = [f"{row[0]} {row[1]}" for row in column_rows]
        declared_columns = [f"{column.name} {self._canonical_type(column)}" for column in columns]
        if returned_columns != declared_columns:
            only_returned = [
                column for column in returned_columns if column not in declared_columns
            ]
            only_declared = [
                column for column in declared_columns if column not in returned_columns
            ]
            returned_text = ", ".join(only_returned) or "fewer columns"
            declared_text = ", ".join(only_declared) or "fewer columns or another order"
            raise SqlProjectError(
                f"compare the columns of {query.name} with schema.yml",
                found=f"the query returns {returned_text}; schema.yml declares {declared_text}",
                next_step="cast in the query, or change schema.yml",
            )

    def _canonical_type(self, column: Column) -> str:
        """Return DuckDB's canonical name for a declared type (`text` → `VARCHAR`)."""
        try:
            query = f"SELECT typeof(NULL::{column.data_type})"
            [(type_name,)] = self._connection.execute(query).fetchall()
        except _duckdb_errors() as error:
            raise SqlProjectError(
                f"read the data_type of {column.name}",
                found=str(error),
                next_step="use a DuckDB type",
            ) from error
        return str(type_name)


def _duckdb_errors() -> tuple[type[Exception], ...]:
    import duckdb

    return (duckdb.Error,)
