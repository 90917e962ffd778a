"""Which tables a statement reads, after sqlglot's parse, against what it says it reads.

Belongs here: parsing, one statement and only a query, the comparison.
Does not belong here: rendering, running.
Method: scopes of https://sqlglot.com/sqlglot/optimizer/scope.html, so that a CTE of a table's name
hides it as it does in the database.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twin_assets.analytics.declarations import SqlProjectError

if TYPE_CHECKING:
    from twin_assets.analytics.rendering import RenderedSql

Relation = tuple[str, str]  # schema ("" for models) and name


def check_reads(rendered: RenderedSql, expected: Iterable[Relation]) -> None:
    """Make sure that a statement is one query that reads exactly these tables.

    Raises:
        SqlProjectError: it does not parse, is no query, or reads more or less.
    """
    relations, wanted = _tables(_parsed(rendered)), set(expected)
    if strange := sorted(relations - wanted):
        raise SqlProjectError(
            f"check what {rendered.name} reads",
            found=f"the table {_shown(strange)}, which is no ref() or source() of it",
            next_step="write {{ ref('…') }} or {{ source('…', '…') }} in its place",
        )
    if unread := sorted(wanted - relations):
        raise SqlProjectError(
            f"check what {rendered.name} reads",
            found=f"nothing is read from {_shown(unread)}",
            next_step="take the ref() or source() out, or read from it",
        )


def _parsed(rendered: RenderedSql) -> Any:
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import ParseError, TokenError

    try:
        statements = [item for item in sqlglot.parse(rendered.sql, dialect="duckdb") if item]
    except (ParseError, TokenError) as error:
        raise SqlProjectError(
            f"parse {rendered.name}", found=str(error).splitlines()[0], next_step="mend the SQL"
        ) from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise SqlProjectError(
            f"parse {rendered.name}",
            found=f"{len(statements)} statements"
            if len(statements) != 1
            else f"a statement that is no query: {type(statements[0]).__name__}",
            next_step="write one select",
        )
    return statements[0]


def _tables(query: Any) -> set[Relation]:
    """Every table that is no CTE; a table function counts under its SQL."""
    from sqlglot import exp
    from sqlglot.optimizer.scope import traverse_scope

    relations: set[Relation] = set()
    for scope in traverse_scope(query):
        for source in scope.sources.values():
            if isinstance(source, exp.Table):
                named = isinstance(source.this, exp.Identifier)
                name = source.name if named else source.this.sql(dialect="duckdb")
                relations.add((source.db if named else "", name))
    return relations


def _shown(relations: Iterable[Relation]) -> str:
    return ", ".join(".".join(part for part in relation if part) for relation in relations)
