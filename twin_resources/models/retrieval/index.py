"""Create and update the indexes that retrieval searches: full text, ids, and vectors if many.

Scope: creating and updating them under the lease of the table. Lance scans rows that are not
indexed yet, so a search finds them as well, only more slowly.
Out of scope: searching (`search.py`), writing rows and merging files (`tables/`), the parameters
of a vector index (`vector_index.py`).

Full-text index: BM25, https://lance.org/format/table/index/scalar/fts/
"""
# pyright: strict

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twin_resources.models.retrieval import vector_index
from twin_resources.models.retrieval.retrieval import TABLE
from twin_resources.models.retrieval.search import INDEXED
from twin_resources.storage.tables.store import TableMissing, open_table

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

# `chunk_id` finds a passage, `document_id` its neighbours.
BY_VALUE = ("chunk_id", "document_id")

# Languages with stems and stop words in Lance, by ISO 639-1.
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
    """Create the missing indexes, and add the new rows to the existing ones.

    Only `keep_vector_index` creates a vector index, on a schedule; this adds rows to it.

    Args:
        author: slug; the author's `embeddings` table has at least one row.
        language: ISO 639-1; selects stems and stop words. If it is empty or unknown to Lance, whole
            words are indexed by Unicode's word boundaries, so that text without spaces can be
            searched too. A change of language rebuilds the full-text index.

    Returns:
        Names of the indexes, sorted.

    Raises:
        TableMissing: the author has no `embeddings`.
        LeaseBusy: another process held the table's lease for the whole wait.
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
            # Releases before 3 indexed the shown text, without its title.
            for old in sorted(name for name in names if name.startswith((f"{INDEXED}_", "text_"))):
                dataset.drop_index(old)
        for column in BY_VALUE:
            if column not in names:
                dataset.create_scalar_index(column, "BTREE", name=column)
        if names & {full_text, vector_index.VECTOR_INDEX, *BY_VALUE}:
            lease.confirm()
            # The rows are a new segment; `tables.upkeep` merges segments when there are many.
            dataset.optimize.optimize_indices(num_indices_to_merge=0)
        return tuple(sorted({index.name for index in dataset.describe_indices()}))


def keep_vector_index(tables: Tables, author: str) -> str:
    """Create an author's vector index if the table is large, or rebuild it if the table outgrew it.

    Returns:
        `made`, `rebuilt`, or `left` (too few rows, or the index still fits them).

    Raises:
        TableMissing: the author has no `embeddings`.
        LeaseBusy: another process held the table's lease for the whole wait.
    """
    import lancedb

    options = dict(tables.storage_options or {}) or None
    with tables.lease(TABLE, author) as lease:
        dataset = _open(tables, author)
        existing = vector_index.read_index_state(dataset)
        plan = vector_index.plan_index(dataset.count_rows(), existing)
        if plan is None:
            return "left"
        lease.confirm()
        database = lancedb.connect(f"{tables.base_uri}/{author}", storage_options=options)
        vector_index.create_index(database.open_table(TABLE), plan)
        return "rebuilt" if existing else "made"


def _open(tables: Tables, author: str) -> Any:
    table: Any = open_table(tables.uri(TABLE, author), storage_options=tables.storage_options)
    if table is None:
        raise TableMissing(
            f"index the passages of {author}",
            found=f"no table at {tables.uri(TABLE, author)}",
            next_step=f"materialize the asset {TABLE!r} for the partition {author!r}",
        )
    return table.dataset
