"""What a person sees of `cleaned_documents` in the UI: statistics, and a link to samples.

Belongs here: metadata and the file behind it (`<home>/reports/<author>`). Does not belong here:
cleaning.

Metadata holds numbers, never text of a post: the event log forgets nothing. Samples
are in a file, which the next run with a change writes anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from twin_assets.corpus.cleaning import dropped_by_reason
from twin_assets.corpus.cleaning_tables import CLEANED

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.settings import Settings
    from twin_resources.storage.tables.tables import Tables

SAMPLES = 5
_NARROW = (
    "document_id",
    "kind",
    "language",
    "words",
    "kept",
    "dropped_because",
    "personal",
    "copies",
)


def reports_dir(settings: Settings, author: str) -> Path:
    """Where an author's sample files lie; they hold text of posts."""
    return settings.home / "reports" / author


def metadata(
    tables: Tables, settings: Settings, author: Author, *, data_version: str
) -> dict[str, Any]:
    """Statistics of the stored documents, and the path of the samples."""
    documents = tables.read(CLEANED, author.slug, columns=_NARROW)
    accepted = documents.filter("kept")
    folder = reports_dir(settings, author.slug)
    folder.mkdir(parents=True, exist_ok=True)
    samples = folder / "cleaned_documents.md"
    mark = f"<!-- data version {data_version[:12]} -->\n"
    if not samples.exists() or not samples.read_text("utf-8").startswith(mark):
        samples.write_text(mark + _samples(tables, author, accepted), encoding="utf-8")
    return {
        "kept": accepted.height,
        "words": int(accepted["words"].sum()),
        "dropped": dropped_by_reason(documents),
        "languages": _counted(accepted["language"]),
        "kinds": _counted(accepted["kind"]),
        "words_a_document": _quantiles(accepted["words"]),
        "replaced": _replaced(documents),
        "collapsed": int(accepted["copies"].list.len().sum()),
        "samples": dg.MetadataValue.path(str(samples)),
    }


def _samples(tables: Tables, author: Author, accepted: pl.DataFrame) -> str:
    """A few kept documents whole, drawn by their ids, which are hashes: the same few each time."""
    drawn = accepted["document_id"].sort().head(SAMPLES).to_list()
    listed = ", ".join(f"'{name}'" for name in drawn)
    columns = ["document_id", "source_id", "title", "language", "words", "text"]
    where = f"document_id IN ({listed})" if drawn else "false"
    parts = [
        f"<!-- {row['source_id']}: {row['language']}, {row['words']} words -->\n"
        f"# {row['title']}\n\n{row['text']}\n"
        for row in tables.read(CLEANED, author.slug, columns=columns, where=where).to_dicts()
    ]
    return "\n\n".join(parts)


def _counted(values: pl.Series) -> dict[str, int]:
    counts = values.alias("value").value_counts().sort("count", "value", descending=[True, False])
    return {str(value): int(count) for value, count in counts.rows()}


def _quantiles(words: pl.Series) -> Mapping[str, int]:
    shares = {"least": 0.0, "tenth": 0.1, "median": 0.5, "nine_tenths": 0.9, "most": 1.0}
    if words.is_empty():
        return {}
    return {name: int(words.quantile(share, "nearest") or 0) for name, share in shares.items()}


def _replaced(documents: pl.DataFrame) -> dict[str, int]:
    """Kind of personal data or secret → how many were replaced."""
    pieces = documents["personal"].explode(empty_as_null=True).drop_nulls()
    if pieces.is_empty():
        return {}
    counts = pieces.struct.unnest().group_by("kind").agg(pl.col("count").sum()).sort("kind")
    return {str(kind): int(count) for kind, count in counts.rows()}
