"""Write traces to the table `interactions`, for tests of the preference dataset.

Scope: writing the table. Out of scope: the pairs built from it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from tests.stored_rows import store_rows
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.quality.ledger.interactions_frame import interaction_columns
from twin_resources.storage.tables.tables import Tables


def write_traces(tables: Tables, rows: list[dict[str, Any]], *, author: str = "ada") -> None:
    """Write one row per trace, as the asset does, with the fields of a good answer by default."""
    defaults = {
        "author": author,
        "version": "v1",
        "checkpoint": "c" * 64,
        "route": "stable",
        "propensity": 1.0,
        "prompt_class": "why",
        "template": DEFAULT_TEMPLATE.hash,
        "reader": "asker",
        "chunk_ids": [],
        "degraded": "",
        "simulated": False,
        "votes": 0,
        "voters": [],
        "judgements": 0,
        "rejections": 0,
        "rejection_voters": [],
    }
    schema = dict(interaction_columns())
    frame = pl.DataFrame(
        [
            dict.fromkeys(schema)
            | defaults
            | {
                "trace_id": f"trace-{number:04}",
                "started_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number),
                "question": f"What does the lantern number {number} say?",
                "answer": f"Nothing, {number} times.",
            }
            | row
            for number, row in enumerate(rows)
        ],
        schema=schema,
    )
    store_rows(tables, "interactions", author, frame, key="trace_id")


def build_edit(text: str, *, role: str = "author", **changes: Any) -> dict[str, Any]:
    return {"edit": text, "edit_role": role, "edit_reader": "editor"} | changes
