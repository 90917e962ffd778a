"""Redact personal data in readers' texts for `interactions`, and count what remains.

Scope: the text columns, applying the patterns to a frame, and the table's columns.
Out of scope: the patterns (`twin_resources/privacy`) and the ledger's query.

The ledger redacts texts when it reads them. They are redacted again here, so that texts stored
under older patterns are updated when the patterns change.
"""
# pyright: strict

from __future__ import annotations

import polars as pl

from twin_resources.privacy import PRIVACY_VERSION, redact, redact_text

REDACTION_VERSION = f"2:{PRIVACY_VERSION}"  # 2: rejections are recorded
TEXT_COLUMNS = ("question", "answer", "edit")


def redact_personal_data(frame: pl.DataFrame) -> pl.DataFrame:
    """Replace personal data in the text columns of a frame, and keep nulls."""
    return frame.with_columns(
        pl.col(name).map_elements(redact_text, return_dtype=pl.String) for name in TEXT_COLUMNS
    )


def find_personal_data(frame: pl.DataFrame) -> pl.DataFrame:
    """Return `trace_id` and `kinds` of the rows whose text still matches a pattern."""
    matches = [
        {"trace_id": str(row["trace_id"]), "kinds": sorted(kinds)}
        for row in frame.iter_rows(named=True)
        if (
            kinds := {
                kind for name in TEXT_COLUMNS if row[name] for kind in redact(str(row[name])).counts
            }
        )
    ]
    return pl.DataFrame(matches, schema={"trace_id": pl.String, "kinds": pl.List(pl.String)})
