"""Read the settled values in a ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from twin_resources.quality.ledger.ledger import Ledger
from twin_resources.quality.ledger.ledger_tables import settled


def settled_rows(
    ledger: Ledger, author: str, *, after: int = 0
) -> Sequence[sa.Row[tuple[Any, ...]]]:
    """Return an author's settled values with a sequence number above `after`, in order."""
    conditions = (settled.c.author == author, settled.c.sequence > after)
    with ledger.state.read_transaction() as connection:
        query = sa.select(settled).where(*conditions).order_by(settled.c.sequence)
        return connection.execute(query).all()
