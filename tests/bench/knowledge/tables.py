"""Write and open the table of passages of one measurement, as the product does.

Scope: writing and opening the table. Out of scope: its indexes, searching.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from twin_assets.knowledge.passages import passage_columns
from twin_resources.models.retrieval.retrieval import EMBEDDINGS_TABLE
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables


def write_passages(tables: Tables, rows: Sequence[pl.DataFrame], dimension: int) -> None:
    """Write the table of passages with `Tables.sync`."""
    tables.sync(
        pl.concat(rows),
        EMBEDDINGS_TABLE,
        author="bench",
        key="chunk_id",
        function=lambda frame: frame,
        version="1",
        schema=passage_columns(dimension),
        row_key="chunk_id",
        batch_rows=20_000,
    )


def open_passages(tables: Tables) -> Any:
    import lancedb

    return lancedb.connect(f"{tables.base_uri}/bench").open_table(EMBEDDINGS_TABLE)


def create_tables(folder: str) -> Tables:
    return Tables(f"{folder}/tables", state=State.open(f"sqlite:///{folder}/state.sqlite"))
