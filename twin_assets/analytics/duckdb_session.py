"""One DuckDB in memory for one step: frames in, one query's rows out.

Belongs here: opening it closed to files and network, registering frames with declared types,
running a rendered query, and errors with the line of the template.
Does not belong here: what is run (`mart.py`), storing the rows.
Settings: https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview

Not a file: a DuckDB file belongs to one process, and steps are processes of their own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import polars as pl

from twin_assets.analytics.declarations import Column
from twin_assets.analytics.reads import Relation
from twin_assets.analytics.source_locations import SourceLocation, SqlProjectError

if TYPE_CHECKING:
    from twin_assets.analytics.rendering import RenderedSql

MEMORY = "2GB"
Frame = pl.DataFrame | pl.LazyFrame


class DuckDBSession:
    """A database that lives as long as the `with` block."""

    def __init__(self) -> None:
        import duckdb

        # On several threads the last digit of a sum depends on which came first, and every run
        # would write rows that nobody changed.
        self._connection = duckdb.connect(":memory:", config={"threads": 1})
        for setting in (
            f"memory_limit = '{MEMORY}'",
            "TimeZone = 'UTC'",  # a day is a UTC day, whatever the machine's clock shows
            "errors_as_json = true",  # they then say where in the query they are
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
        """Make a frame readable as a table of exactly these columns.

        Of a LazyFrame only the columns that a query uses are read.

        Raises:
            SqlProjectError: a column is missing or cannot be of its declared type.
        """
        names = set(frame.collect_schema().names())
        for column in columns:
            if column.name not in names:
                raise SqlProjectError(
                    f"read the column {column.name}",
                    column.place,
                    found=f"a table {'.'.join(relation)} with {', '.join(sorted(names))}",
                    next_step="declare the columns that it has",
                )
        schema, name = relation
        under = f"{schema}_{name}__rows"
        self._connection.register(under, frame)
        selected = ", ".join(
            f'"{item.name}"::{item.data_type} as "{item.name}"' for item in columns
        )
        if schema:
            self._connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        target = f'"{schema}"."{name}"' if schema else f'"{name}"'
        try:
            self._connection.execute(f'CREATE VIEW {target} AS SELECT {selected} FROM "{under}"')
        except _errors() as error:
            message, _ = _said(error)
            raise SqlProjectError(
                f"read {'.'.join(part for part in relation if part)}",
                columns[0].place,
                found=message,
                next_step="declare the types that the table has",
            ) from error

    def register_empty(self, relation: Relation, columns: Sequence[Column]) -> None:
        """A table of these columns without rows, where nobody has made it yet."""
        self.register(
            relation, pl.DataFrame(schema={item.name: pl.Null for item in columns}), columns
        )

    def rows(self, rendered: RenderedSql) -> pl.DataFrame:
        """Run a query.

        Raises:
            SqlProjectError: DuckDB cannot run it; the message names the template's line.
        """
        before = "CREATE OR REPLACE TEMP TABLE __rows AS "
        try:
            self._connection.execute(before + rendered.sql)
            return self._connection.sql("FROM __rows").pl()
        except _errors() as error:
            message, position = _said(error)
            after = max(position - len(before), 0)
            line = rendered.sql.encode()[:after].count(b"\n") + 1
            raise SqlProjectError(
                f"run {rendered.name}",
                rendered.place(line),
                found=message,
                next_step="mend the SQL",
            ) from error

    def check_types(self, rendered: RenderedSql, columns: Sequence[Column]) -> None:
        """Compare the columns of the query that ran last with the declared ones.

        Raises:
            SqlProjectError: a name, a type or the order differs.
        """
        described = self._connection.execute("DESCRIBE __rows").fetchall()
        made = [(str(row[0]), str(row[1])) for row in described]
        for column, (name, kind) in zip(columns, made, strict=False):
            wanted = self._type(column)
            if (column.name, wanted) != (name, kind):
                raise _unlike(rendered, column.place, f"{name} {kind}", f"{column.name} {wanted}")
        if len(columns) != len(made):
            missing = [item.name for item in columns[len(made) :]]
            more = [name for name, _ in made[len(columns) :]]
            raise _unlike(
                rendered,
                columns[-1].place,
                f"{len(made)} columns, {', '.join(more) or 'the last ones missing'}",
                f"{len(columns)} columns, {', '.join(missing) or 'without these'}",
            )

    def _type(self, column: Column) -> str:
        """DuckDB's own name of a declared type (`text` → `VARCHAR`)."""
        try:
            query = f"SELECT typeof(NULL::{column.data_type})"
            [(type_name,)] = self._connection.execute(query).fetchall()
        except _errors() as error:
            raise SqlProjectError(
                f"read the data_type of {column.name}",
                column.place,
                found=_said(error)[0],
                next_step="write a type of DuckDB",
            ) from error
        return str(type_name)


def _unlike(
    rendered: RenderedSql, place: SourceLocation, made: str, declared: str
) -> SqlProjectError:
    return SqlProjectError(
        f"keep the contract of {rendered.name} ({rendered.place(1)})",
        place,
        found=f"the query gives {made}, declared is {declared}",
        next_step="cast in the query, or change schema.yml",
    )


def _errors() -> tuple[type[Exception], ...]:
    import duckdb

    return (duckdb.Error,)


def _said(error: Exception) -> tuple[str, int]:
    """DuckDB's message and the byte of the statement that it is about (0: it does not say)."""
    text = str(error)
    start = text.find("{")
    try:
        document: dict[str, Any] = json.loads(text[start:]) if start >= 0 else {}
    except ValueError:
        document = {}
    message = str(document.get("exception_message") or text)
    return " ".join(message.split()), int(document.get("position") or 0)
