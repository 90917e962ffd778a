"""Run queries over frames in an in-memory DuckDB database.

Scope: opening the database without access to files and network, registering frames with declared
types, running a rendered query. Only registered frames exist, so a query reads only its declared
inputs.
Out of scope: choosing the query (`mart.py`), storing the rows.
Settings: https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview

The database is not a file, because a DuckDB file belongs to one process and each step is a separate
process.
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
    """A database for the duration of the `with` block."""

    def __init__(self) -> None:
        import duckdb

        # With several threads, the last digit of a sum depends on their order, and unchanged rows
        # would be written again.
        self._connection = duckdb.connect(":memory:", config={"threads": 1})
        for setting in (
            f"memory_limit = '{MEMORY_LIMIT}'",
            "TimeZone = 'UTC'",  # days are UTC days, whatever the machine's time zone
            "python_enable_replacements = false",  # a table's name is never a Python variable
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
        """Make a frame readable as a table with exactly these columns.

        Only the columns that a query uses are read from a LazyFrame.

        Raises:
            SqlProjectError: a column is missing or cannot be cast to its declared type.
        """
        schema, name = relation
        rows_view = f"{schema}_{name}__rows"
        self._connection.register(rows_view, frame)
        selected = ", ".join(
            f'"{item.name}"::{item.data_type} as "{item.name}"' for item in columns
        )
        if schema:
            self._connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        target = f'"{schema}"."{name}"' if schema else f'"{name}"'
        try:
            self._connection.execute(
                f'CREATE VIEW {target} AS SELECT {selected} FROM "{rows_view}"'
            )
        except _duckdb_errors() as error:
            raise SqlProjectError(
                f"read {'.'.join(part for part in relation if part)}",
                found=str(error),
                next_step="declare the table's actual columns and types in schema.yml",
            ) from error

    def register_empty(self, relation: Relation, columns: Sequence[Column]) -> None:
        """Register an empty table with these columns, in place of one that does not exist yet."""
        self.register(
            relation, pl.DataFrame(schema={item.name: pl.Null for item in columns}), columns
        )

    def query_rows(self, rendered: RenderedSql) -> pl.DataFrame:
        """Run a query and return its rows.

        Raises:
            SqlProjectError: DuckDB cannot run it; the message shows the line of the rendered SQL.
        """
        try:
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE __rows AS\n{rendered.sql}")
            return self._connection.sql("FROM __rows").pl()
        except _duckdb_errors() as error:
            raise SqlProjectError(
                f"run {rendered.name}", found=str(error), next_step="correct the SQL"
            ) from error

    def check_types(self, rendered: RenderedSql, columns: Sequence[Column]) -> None:
        """Compare the columns of the last query with the declared ones.

        Raises:
            SqlProjectError: a name, a type or the order differs.
        """
        described = self._connection.execute("DESCRIBE __rows").fetchall()
        actual = [f"{row[0]} {row[1]}" for row in described]
        declared = [f"{column.name} {self._type(column)}" for column in columns]
        if actual != declared:
            raise SqlProjectError(
                f"keep the contract of {rendered.name}",
                found="the query returns "
                f"{', '.join(_difference(actual, declared)) or 'fewer columns'}; the contract has "
                f"{', '.join(_difference(declared, actual)) or 'another order, or fewer'}",
                next_step="cast in the query, or change schema.yml",
            )

    def _type(self, column: Column) -> str:
        """Return DuckDB's own name for a declared type (`text` → `VARCHAR`)."""
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


def _difference(items: Sequence[str], others: Sequence[str]) -> list[str]:
    return [item for item in items if item not in others]


def _duckdb_errors() -> tuple[type[Exception], ...]:
    import duckdb

    return (duckdb.Error,)
