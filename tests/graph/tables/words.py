"""Sync the small table of these tests, which has one row per word, keyed by post and position.

Scope: its schema and function, which other processes import. Out of scope: tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from twin_resources.storage.tables.tables import SyncResult, Tables

SCHEMA: dict[str, pl.DataType] = {
    "word_id": pl.String(),
    "post": pl.String(),
    "word": pl.String(),
    "length": pl.Int64(),
}


def build_posts(texts: Mapping[str, str]) -> pl.DataFrame:
    """Build a frame of posts with the columns `post` and `text`."""
    return pl.DataFrame(
        {"post": list(texts), "text": list(texts.values())},
        schema={"post": pl.String, "text": pl.String},
    )


def find_words(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the words of each post; an empty post has none."""
    return (
        rows.filter(pl.col("text") != "")
        .with_columns(pl.col("text").str.split(" ").alias("word"))
        .explode("word")
        .with_columns(pl.int_range(pl.len()).over("post").alias("place"))
        .select(
            pl.format("{}#{}", "post", "place").alias("word_id"),
            "post",
            "word",
            pl.col("word").str.len_chars().cast(pl.Int64).alias("length"),
        )
    )


def sync_words(
    tables: Tables,
    texts: Mapping[str, str],
    *,
    author: str = "mara",
    version: str = "1",
    batch_rows: int = 2,
    function: Callable[[pl.DataFrame], pl.DataFrame] = find_words,
    on_batch: Callable[[range, int], object] | None = None,
    key_prefix: str = "",
) -> SyncResult:
    """Sync the table `words` of an author."""
    return tables.sync(
        build_posts(texts),
        "words",
        author=author,
        key="post",
        function=function,
        version=version,
        schema=SCHEMA,
        row_key="word_id",
        batch_rows=batch_rows,
        on_batch=on_batch,
        key_prefix=key_prefix,
    )


def index_full_text(tables: Tables, *, author: str = "mara", **options: bool) -> None:
    """Index the words for BM25, as a retrieval index of a table does."""
    import lance

    lance.dataset(tables.uri("words", author)).create_scalar_index("word", "INVERTED", **options)
