"""What a ledger has settled, as a test reads it."""

from __future__ import annotations

import sqlalchemy as sa

from twin_resources.quality.ledger.ledger import Ledger
from twin_resources.quality.ledger.ledger_tables import settled
from twin_resources.statistics.values import SettledValue

_NAMES = ("sequence", "author", "stream", "version", "prompt_class", "value")


def settled_rows(ledger: Ledger, author: str, *, after: int = 0) -> list[SettledValue]:
    """Settled values of an author with a sequence number above `after`, in order."""
    mine = (settled.c.author == author, settled.c.sequence > after)
    query = sa.select(*(settled.c[name] for name in _NAMES)).where(*mine)
    with ledger.state.reading() as connection:
        rows = connection.execute(query.order_by(settled.c.sequence))
        return [SettledValue(*row) for row in rows]
