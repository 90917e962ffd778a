"""What a ledger has settled, as a test reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from twin_resources.quality.ledger.ledger import Ledger
from twin_resources.quality.ledger.ledger_tables import settled


def settled_rows(
    ledger: Ledger, author: str, *, after: int = 0
) -> Sequence[sa.Row[tuple[Any, ...]]]:
    """Settled values of an author with a sequence number above `after`, in order."""
    mine = (settled.c.author == author, settled.c.sequence > after)
    with ledger.state.read_transaction() as connection:
        query = sa.select(settled).where(*mine).order_by(settled.c.sequence)
        return connection.execute(query).all()
