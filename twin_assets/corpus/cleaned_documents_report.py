"""Compute the statistics of `cleaned_documents` for the UI.

Scope: metadata, which contains no post's text, because the event log keeps everything.
Out of scope: cleaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twin_assets.corpus.cleaning_account import count_dropped_by_reason, count_values, sum_counts
from twin_assets.corpus.cleaning_tables import CLEANED

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.storage.tables.tables import Tables

_REPORT_COLUMNS = ("document_id", "language", "words", "kept", "dropped_because", "personal")


def metadata(tables: Tables, author: Author) -> dict[str, Any]:
    """Return statistics about the stored documents."""
    documents = tables.read(CLEANED, author.slug, columns=_REPORT_COLUMNS)
    kept_documents = documents.filter("kept")
    return {
        "kept": kept_documents.height,
        "words": int(kept_documents["words"].sum()),
        "dropped": count_dropped_by_reason(documents),
        "languages": count_values(kept_documents["language"]),
        "replaced": sum_counts(
            *(
                {replaced["kind"]: replaced["count"]}
                for replacements in documents["personal"].to_list()
                for replaced in replacements
            )
        ),
    }
