"""The indexes that retrieval searches: full text over the passages, BTREE over their ids.

Belongs here: making them, and bringing them up to date after a write. Rows that are in no index yet
are still found (Lance scans them), only more slowly.
Does not belong here: searching (`retrieval.py`), writing rows (`tables/`). There is no vector
index: an author's passages are thousands, and at 5,000 the exact search takes 6 CPU ms.

Full-text index: BM25, https://lance.org/format/table/index/scalar/fts/
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Languages whose stems and stop words Lance knows, by ISO 639-1.
STEMMED = {
    "ar": "Arabic",
    "da": "Danish",
    "nl": "Dutch",
    "en": "English",
    "fi": "Finnish",
    "fr": "French",
    "de": "German",
    "el": "Greek",
    "hu": "Hungarian",
    "it": "Italian",
    "no": "Norwegian",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "es": "Spanish",
    "sv": "Swedish",
    "ta": "Tamil",
    "tr": "Turkish",
}


def update_indexes(
    uri: str, *, language: str, storage_options: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Make the indexes that are missing, and add the rows that the others do not hold yet.

    Args:
        uri: of an `embeddings` table with at least one row.
        language: ISO 639-1; decides stems and stop words. Empty or unknown to Lance: whole words,
            by Unicode's rules for where a word ends, so that text without spaces can be searched
            too. Another language than before makes the full-text index anew.

    Returns:
        Names of the indexes, sorted.
    """
    import lance

    dataset: Any = lance.dataset(uri, storage_options=dict(storage_options or {}) or None)
    stemmed = STEMMED.get(language)
    full_text = f"text_{language if stemmed else 'words'}"
    standing = {index.name for index in dataset.describe_indices()}
    if full_text not in standing:
        options: dict[str, Any] = (
            {"language": stemmed}
            if stemmed
            else {"base_tokenizer": "icu", "stem": False, "remove_stop_words": False}
        )
        dataset.create_scalar_index("text", "INVERTED", name=full_text, **options)
        for old in sorted(name for name in standing if name.startswith("text_")):
            dataset.drop_index(old)
    if "chunk_id" not in standing:
        dataset.create_scalar_index("chunk_id", "BTREE", name="chunk_id")
    if standing & {full_text, "chunk_id"}:
        dataset.optimize.optimize_indices()
    return tuple(sorted({index.name for index in dataset.describe_indices()}))
