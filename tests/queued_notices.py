"""Read the notices that the product has queued. The product never reads them after sending.

Scope: reading their table. Out of scope: sending them (`notifications.py`).
"""

from __future__ import annotations

import sqlalchemy as sa

from twin_resources.observability.notifications import Notice, notices
from twin_resources.storage.state.state import State


def queued_notices(state: State, *, author: str = "") -> list[Notice]:
    """Return the notices of an author, or of all authors, newest first."""
    statement = sa.select(notices).order_by(notices.c.number.desc())
    if author:
        statement = statement.where(notices.c.author == author)
    with state.read_transaction() as connection:
        return [
            Notice(row.key, row.event, row.author, row.title, row.text, row.links)
            for row in connection.execute(statement)
        ]
