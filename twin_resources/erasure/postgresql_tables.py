"""Tables of a PostgreSQL server, rewritten so that no page of them holds what was deleted.

Scope: `VACUUM (FULL)` and what the server has noted of the values. Out of scope:
deleting rows (`state_store.py`, `dagster_records.py`); the server's write-ahead log and its backups
(`manual_steps.py` names them).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa


def rewrite_tables(engine: sa.Engine, names: Iterable[str]) -> None:
    """Write tables again, and the planner's statistics with them.

    `ANALYZE` keeps common values and histogram bounds of each column, short texts as they are. They
    are taken again from the rows that are left, and their own table is rewritten: a role that
    owns the database may do that, another one is passed over with a warning of the server.

    Args:
        engine: of the database.
        names: tables without a schema.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for name in names:
            connection.execute(sa.text(f'VACUUM (FULL, ANALYZE) "{name}"'))
        connection.execute(sa.text("VACUUM (FULL) pg_statistic"))
