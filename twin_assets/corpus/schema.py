"""The data contract of the corpus stage: what a row of `raw_posts` and of `cleaned_documents` is.

Belongs here: columns, their types, and the rules that every row keeps.
Does not belong here: how a row is made (importers, cleaning) or stored (`twin_resources.tables`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping

import dataframely as dy
import polars as pl

UTC_MICROSECONDS = pl.Datetime("us", "UTC")


class RawPosts(dy.Schema):
    """Every post as it came, one row a post; a deleted file stays as a tombstone.

    `problem` is empty, or why the post could not be read (`posts.UnreadablePostError`); `kind` is
    `post` (dated), `note` (undated), `draft` or `tombstone`. `file_hash` is of the bytes on disk,
    `content_hash` of the body, white space collapsed: two posts with the same one say the same.
    """

    source = dy.String()
    source_id = dy.String(primary_key=True, min_length=1)
    path = dy.String()
    url = dy.String()
    author = dy.String()
    kind = dy.Enum(["post", "note", "draft", "tombstone"])
    title = dy.String()
    text = dy.String()
    markup = dy.Enum(["markdown", "html"])
    created_at = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    updated_at = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    tags = dy.List(dy.String())
    file_hash = dy.String(min_length=1)
    content_hash = dy.String(min_length=1)
    deleted = dy.Bool()
    problem = dy.String()

    @dy.rule()
    def unread_posts_have_no_text(cls) -> pl.Expr:
        return (pl.col("problem") == "") | (pl.col("text") == "")

    @dy.rule()
    def tombstones_have_no_text(cls) -> pl.Expr:
        return ~pl.col("deleted") | ((pl.col("text") == "") & (pl.col("kind") == "tombstone"))


class CleanedDocuments(dy.Schema):
    """One row for every row of `raw_posts`: kept, or dropped with the reason.

    `text` is Markdown (NFC, `\\n` line ends), empty where the document is dropped; `words` counts
    the cleaned text also there, so that a person can see what "too short" meant.
    """

    document_id = dy.String(primary_key=True, min_length=1)
    source_id = dy.String(min_length=1)
    title = dy.String()
    url = dy.String()
    published_at = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    text = dy.String()
    language = dy.String()
    words = dy.Int64()
    kept = dy.Bool()
    dropped_because = dy.String()
    duplicate_of = dy.String()
    content_hash = dy.String(min_length=1)

    @dy.rule()
    def dropped_rows_have_a_reason(cls) -> pl.Expr:
        return pl.col("kept") == (pl.col("dropped_because") == "")

    @dy.rule()
    def kept_rows_have_text(cls) -> pl.Expr:
        return pl.col("kept") == (pl.col("text") != "")

    @dy.rule()
    def duplicates_name_the_kept_one(cls) -> pl.Expr:
        return (pl.col("dropped_because") == "duplicate") == (pl.col("duplicate_of") != "")


def columns_of(schema: type[dy.Schema]) -> Mapping[str, pl.DataType]:
    """Column name → Polars type, as `tables.rework` wants it; enumerations are stored as strings.

    Lance has no enumeration type, so the rule lives in the validator and the column is Utf8.
    """
    types = {name: column.dtype for name, column in schema.columns().items()}
    return {
        name: pl.String() if isinstance(dtype, pl.Enum) else dtype for name, dtype in types.items()
    }


def validated(frame: pl.DataFrame, schema: type[dy.Schema]) -> pl.DataFrame:
    """`frame` in the schema's column order, checked; strings stay strings where it says Enum.

    Raises:
        dataframely.exc.ValidationError: naming the rule and the number of rows that break it.
    """
    schema.validate(frame, cast=True)
    return frame.select(columns_of(schema).keys())
