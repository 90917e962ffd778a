"""Compute the statistics of `cleaned_documents` for the UI.

Scope: metadata, which contains only numbers and no post's text, because the event log keeps
everything. Out of scope: cleaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.corpus.cleaning import count_dropped_by_reason
from twin_assets.corpus.cleaning_tables import CLEANED

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.storage.tables.tables import Tables

_REPORT_COLUMNS = (
    "document_id",
    "kind",
    "language",
    "words",
    "kept",
    "dropped_because",
    "personal",
    "copies",
)


def metadata(tables: Tables, author: Author) -> dict[str, Any]:
    """Return statistics about the stored documents."""
    documents = tables.read(CLEANED, author.slug, columns=_REPORT_COLUMNS)
    accepted = documents.filter("kept")
    return {
        "kept": accepted.height,
        "words": int(accepted["words"].sum()),
        "dropped": count_dropped_by_reason(documents),
        "languages": _count_values(accepted["language"]),
        "kinds": _count_values(accepted["kind"]),
        "words_a_document": _quantiles(accepted["words"]),
        "replaced": _count_replacements(documents),
        "collapsed": int(accepted["copies"].list.len().sum()),
    }


def _count_values(values: pl.Series) -> dict[str, int]:
    counts = values.alias("value").value_counts().sort("count", "value", descending=[True, False])
    return {str(value): int(count) for value, count in counts.rows()}


def _quantiles(words: pl.Series) -> Mapping[str, int]:
    shares = {"least": 0.0, "tenth": 0.1, "median": 0.5, "nine_tenths": 0.9, "most": 1.0}
    if words.is_empty():
        return {}
    return {name: int(words.quantile(share, "nearest") or 0) for name, share in shares.items()}


def _count_replacements(documents: pl.DataFrame) -> dict[str, int]:
    """Return the number of replacements by kind of personal data or secret."""
    pieces = documents["personal"].explode(empty_as_null=True).drop_nulls()
    if pieces.is_empty():
        return {}
    counts = pieces.struct.unnest().group_by("kind").agg(pl.col("count").sum()).sort("kind")
    return {str(kind): int(count) for kind, count in counts.rows()}
