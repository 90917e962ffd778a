"""Create and update the retrieval indexes: full text, ids, and vectors of large tables.

Lance scans rows that are not indexed yet, so a search also finds them, but more slowly. Full-text
index: BM25, https://lance.org/format/table/index/scalar/fts/
"""
# pyright: strict

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twin_resources.models.retrieval import vector_index
from twin_resources.models.retrieval.retrieval import EMBEDDINGS_TABLE
from twin_resources.models.retrieval.search import INDEXED_TEXT_COLUMN
from twin_resources.storage.tables.store import TableNotFoundError, open_table

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

# `chunk_id` finds a passage, and `document_id` finds its neighbors.
SCALAR_INDEX_COLUMNS = ("chunk_id", "document_id")

# Languages for which Lance has a stemmer and stop words, by ISO 639-1 code.
STEMMER_LANGUAGES = {
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

    A vector index is created only by `maintain_vector_index`, on a schedule; here it gets new rows.

    Args:
        author: slug; the author's `embeddings` table has at least one row.
        language: ISO 639-1; selects the stemmer and stop words. If it is empty or Lance does not
            support it, whole words are indexed at Unicode word boundaries, so that text without
            spaces can also be searched. A change of language rebuilds the full-text index.

    Returns:
        Sorted names of the indexes.

    Raises:
        TableNotFoundError: the author has no `embeddings` table.
        LeaseBusyError: another process held the table's lease for the whole wait.
    """
    stemmer_language = STEMMER_LANGUAGES.get(language)
    full_text_index = f"{INDEXED_TEXT_COLUMN}_{language if stemmer_language else 'words'}"
    with tables.lease(EMBEDDINGS_TABLE, author) as lease:
        dataset = _open_dataset(tables, author)
        index_names = {index.name for index in dataset.describe_indices()}
        lease.check()
        if full_text_index not in index_names:
            options: dict[str, Any] = (
                {"language": stemmer_language}
                if stemmer_language
                else {"base_tokenizer": "icu", "stem": False, "remove_stop_words": False}
            )
            dataset.create_scalar_index(
                INDEXED_TEXT_COLUMN, "INVERTED", name=full_text_index, **options
            )
            for index_name in index_names:
                if index_name.startswith(f"{INDEXED_TEXT_COLUMN}_"):  # for another language
                    dataset.drop_index(index_name)
        for column in SCALAR_INDEX_COLUMNS:
            if column not in index_names:
                dataset.create_scalar_index(column, "BTREE", name=column)
        if index_names & {full_text_index, vector_index.VECTOR_INDEX, *SCALAR_INDEX_COLUMNS}:
            lease.check()
            # The rows become a new segment; `tables/maintenance.py` merges many segments.
            dataset.optimize.optimize_indices(num_indices_to_merge=0)
        return tuple(sorted({index.name for index in dataset.describe_indices()}))


def maintain_vector_index(tables: Tables, author: str) -> str:
    """Create a large table's vector index, or rebuild an index that the table has outgrown.

    Returns:
        `made`, `rebuilt`, or `left` (too few rows, or the index is still suitable).

    Raises:
        TableNotFoundError: the author has no `embeddings` table.
        LeaseBusyError: another process held the table's lease for the whole wait.
    """
    import lancedb

    with tables.lease(EMBEDDINGS_TABLE, author) as lease:
        dataset = _open_dataset(tables, author)
        existing_index = vector_index.read_index_state(dataset)
        partition_count = vector_index.plan_partition_count(dataset.count_rows(), existing_index)
        if partition_count is None:
            return "left"
        lease.check()
        database = lancedb.connect(f"{tables.base_uri}/{author}")
        vector_index.create_index(database.open_table(EMBEDDINGS_TABLE), partition_count)
        return "rebuilt" if existing_index else "made"


def _open_dataset(tables: Tables, author: str) -> Any:
    table: Any = open_table(tables.uri(EMBEDDINGS_TABLE, author))
    if table is None:
        raise TableNotFoundError(
            f"index the passages of {author}",
            found=f"no table at {tables.uri(EMBEDDINGS_TABLE, author)}",
            next_step=f"materialize the asset {EMBEDDINGS_TABLE!r} for the partition {author!r}",
        )
    return table.dataset
