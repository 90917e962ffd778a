"""The indexes that retrieval searches: full text, ids, and vectors from the size where they pay.

Scope: making them, and bringing them up to date, each under the lease of the table. Rows
that are in no index yet are still found (Lance scans them), only more slowly.
Out of scope: searching (`search.py`), writing rows and merging files (`tables/`), choosing
how an index of vectors is made (`vector_index.py`).

Full-text index: BM25, https://lance.org/format/table/index/scalar/fts/
"""
# pyright: strict

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twin_resources.models.retrieval.retrieval import TABLE
from twin_resources.models.retrieval.search import INDEXED
from twin_resources.models.retrieval.vector_index import VECTOR_INDEX, make, standing, wanted
from twin_resources.storage.tables.store import TableMissing, open_table

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

# A passage by its id, and the neighbours of one: by document and place.
BY_VALUE = ("chunk_id", "document_id")

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


def update_indexes(tables: Tables, author: str, *, language: str) -> tuple[str, ...]:
    """Make the indexes that are missing, and add the rows that the others do not hold yet.

    An index of vectors is only made by `keep_vector_index`, on a schedule; one that stands is added
    to like the others.

    Args:
        author: slug; their `embeddings` table has at least one row.
        language: ISO 639-1; decides stems and stop words. Empty or unknown to Lance: whole words,
            by Unicode's rules for where a word ends, so that text without spaces can be searched
            too. Another language than before makes the full-text index again.

    Returns:
        Names of the indexes, sorted.

    Raises:
        TableMissing: the author has no `embeddings`.
        LeaseBusy: another process has worked on the table for longer than the tables wait.
    """
    stemmed = STEMMED.get(language)
    full_text = f"{INDEXED}_{language if stemmed else 'words'}"
    with tables.lease(TABLE, author) as lease:
        dataset = _open(tables, author)
        names = {index.name for index in dataset.describe_indices()}
        lease.confirm()
        if full_text not in names:
            options: dict[str, Any] = (
                {"language": stemmed}
                if stemmed
                else {"base_tokenizer": "icu", "stem": False, "remove_stop_words": False}
            )
            dataset.create_scalar_index(INDEXED, "INVERTED", name=full_text, **options)
            # Releases before 3 searched the shown text, without its title.
            for old in sorted(name for name in names if name.startswith((f"{INDEXED}_", "text_"))):
                dataset.drop_index(old)
        for column in BY_VALUE:
            if column not in names:
                dataset.create_scalar_index(column, "BTREE", name=column)
        if names & {full_text, VECTOR_INDEX, *BY_VALUE}:
            lease.confirm()
            # As a segment of its own: `tables.upkeep` merges them when there are many.
            dataset.optimize.optimize_indices(num_indices_to_merge=0)
        return tuple(sorted({index.name for index in dataset.describe_indices()}))


def keep_vector_index(tables: Tables, author: str) -> str:
    """Make the index of an author's vectors where it pays, and again where they outgrew it.

    Returns:
        What was done: `made`, `rebuilt`, or `left` (too few rows, or it still fits them).

    Raises:
        TableMissing: the author has no `embeddings`.
        LeaseBusy: another process has worked on the table for longer than the tables wait.
    """
    import lancedb

    options = dict(tables.storage_options or {}) or None
    with tables.lease(TABLE, author) as lease:
        dataset = _open(tables, author)
        there = standing(dataset)
        plan = wanted(dataset.count_rows(), there)
        if plan is None:
            return "left"
        lease.confirm()
        database = lancedb.connect(f"{tables.base_uri}/{author}", storage_options=options)
        make(database.open_table(TABLE), plan)
        return "rebuilt" if there else "made"


def _open(tables: Tables, author: str) -> Any:
    table: Any = open_table(tables.uri(TABLE, author), storage_options=tables.storage_options)
    if table is None:
        raise TableMissing(
            f"index the passages of {author}",
            found=f"no table at {tables.uri(TABLE, author)}",
            next_step=f"materialize the asset {TABLE!r} for the partition {author!r}",
        )
    return table.dataset
