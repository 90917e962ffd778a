"""Rewrite tables of a PostgreSQL server, so that no page of them holds deleted data.

Scope: `VACUUM (FULL)` and the server's statistics of the values. Out of scope: deleting rows
(`state_store.py`, `dagster_records.py`); the server's write-ahead log and backups
(`manual_steps.py` names them).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa


def rewrite_tables(engine: sa.Engine, names: Iterable[str]) -> None:
    """Rewrite tables, and the planner's statistics with them.

    `ANALYZE` keeps each column's common values and histogram bounds, including short texts
    verbatim. They are collected again from the remaining rows, and the statistics table itself is
    rewritten. The owner of the database may do that; for another role the server skips the table
    with a warning.

    Args:
        engine: the database engine.
        names: tables without a schema.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for name in names:
            connection.execute(sa.text(f'VACUUM (FULL, ANALYZE) "{name}"'))
        connection.execute(sa.text("VACUUM (FULL) pg_statistic"))
