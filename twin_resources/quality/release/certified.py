"""What each version's own first values certify, read from the ledger.

Belongs here: the query, and bounds from its values. Does not belong here: the bounds' mathematics
(`statistics/bounds.py`), what is concluded (`anchor.py`).
"""
# pyright: strict

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import sqlalchemy as sa

from twin_resources.quality.ledger.ledger_tables import settled
from twin_resources.quality.release.anchor import CertifiedBaseline
from twin_resources.statistics.baseline import FIRST_BATCH, class_bounds
from twin_resources.statistics.values import SettledValue

_COLUMNS = ("sequence", "author", "stream", "version", "prompt_class", "value", "day", "unit")
_VALUE = tuple(settled.c[name] for name in _COLUMNS)


def name_of(version: int) -> str:
    """How traces and settled values call a version."""
    return f"v{version}"


def certified_by(
    connection: sa.Connection, author: str, versions: Collection[int], *, before_ms: int
) -> dict[int, dict[str, CertifiedBaseline]]:
    """Version → stream → bounds, for streams in which the version has its first 500 values.

    Args:
        before_ms: values settled later do not count, so that asking again gives the same answer.
    """
    baselines: dict[int, dict[str, CertifiedBaseline]] = {}
    mine = (settled.c.author == author, settled.c.settled_ms < before_ms)
    for version in versions:
        of_version = (*mine, settled.c.version == name_of(version))
        streams = connection.execute(
            sa.select(settled.c.stream)
            .where(*of_version)
            .group_by(settled.c.stream)
            .having(sa.func.count() >= FIRST_BATCH)
        ).scalars()
        for stream in list(streams):
            rows = connection.execute(
                sa.select(*_VALUE)
                .where(*of_version, settled.c.stream == stream)
                .order_by(settled.c.sequence)
                .limit(FIRST_BATCH)
            )
            values = [SettledValue(*row) for row in rows]
            bounds = class_bounds(values)
            counts = Counter(value.prompt_class for value in values)
            baselines.setdefault(version, {})[stream] = CertifiedBaseline(bounds, counts)
    return baselines
