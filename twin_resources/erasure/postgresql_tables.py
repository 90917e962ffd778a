"""Rewrite tables of a PostgreSQL server, so that none of their pages contains deleted data.

Scope: `VACUUM (FULL)`, and the server's statistics about column values. Out of scope: deleting rows
(`state_store.py`, `dagster_records.py`); the server's write-ahead log and backups
(`manual_steps.py` lists them).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa


def rewrite_tables(engine: sa.Engine, names: Iterable[str]) -> None:
    """Rewrite tables and the planner's statistics about them.

    `ANALYZE` stores each column's common values and histogram bounds, including short texts
    verbatim. It recollects them from the remaining rows, and then the statistics table itself is
    rewritten. Only the owner of the database may rewrite it; for another role, the server skips it
    with a warning.

    Args:
        engine: the database engine.
        names: table names without a schema.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for name in names:
            connection.execute(sa.text(f'VACUUM (FULL, ANALYZE) "{name}"'))
        connection.execute(sa.text("VACUUM (FULL) pg_statistic"))
