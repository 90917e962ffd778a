"""The data contract of the corpus stage: what a row of `raw_posts` and of `cleaned_documents` is.

Scope: columns, their types, and the rules that every row keeps.
Out of scope: how a row is made (importers, cleaning) or stored
(`twin_resources.storage.tables`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping

import dataframely as dy
import polars as pl


class RawPosts(dy.Schema):
    """Every post as it came, one row a post; a deleted file stays as a tombstone.

    `source` is the folder, or the name of the importer (`linkedin`), and `source_id` the path in
    it, or `linkedin/` and the post's own identifier. `problem` is empty, or why the post could not
    be read (`posts.UnreadablePostError`); `kind` is `post` (dated), `note` (undated), `article`,
    `code`, `reply`, `draft` (left out by cleaning) or `tombstone`. A draft that the author's
    settings ask for is a `post` that is `private`. `byline` says which field named the `author`.
    `file_hash` is of the bytes on disk, or of the export's record; `content_hash` of the body,
    white space collapsed: two posts with the same one say the same. `encoding` is what a file was
    converted from (`windows-1252`), and empty for UTF-8 and for exports.
    """

    source = dy.String()
    source_id = dy.String(primary_key=True, min_length=1)
    path = dy.String()
    url = dy.String()
    author = dy.String()
    byline = dy.String()
    kind = dy.Enum(["post", "article", "note", "code", "reply", "draft", "tombstone"])
    title = dy.String()
    text = dy.String()
    markup = dy.Enum(["markdown", "html", "text"])
    language = dy.String()
    visibility = dy.Enum(["public", "unlisted", "followers", "private", "paid"])
    licence = dy.String()
    parent_id = dy.String()
    created_at = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    updated_at = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    tags = dy.List(dy.String())
    file_hash = dy.String(min_length=1)
    content_hash = dy.String(min_length=1)
    deleted = dy.Bool()
    problem = dy.String()
    encoding = dy.String()

    @dy.rule()
    def unread_posts_have_no_text(cls) -> pl.Expr:
        return (pl.col("problem") == "") | (pl.col("text") == "")

    @dy.rule()
    def tombstones_have_no_text(cls) -> pl.Expr:
        return ~pl.col("deleted") | ((pl.col("text") == "") & (pl.col("kind") == "tombstone"))


class ImportSources(dy.Schema):
    """One row an importer of an author: the exports it last read whole, and what was in them.

    `digest` is of the exports' bytes, their order, the opt-ins and the importing code: while it is
    the same nothing is parsed. `found == records + skipped` (`skipped_by_reason`, JSON).
    """

    source = dy.String(primary_key=True, min_length=1)
    digest = dy.String(min_length=1)
    found = dy.Int64(min=0)
    records = dy.Int64(min=0)
    skipped = dy.Int64(min=0)
    skipped_by_reason = dy.String()

    @dy.rule()
    def nothing_is_lost(cls) -> pl.Expr:
        return pl.col("found") == pl.col("records") + pl.col("skipped")


COUNTED = dy.List(dy.Struct({"kind": dy.String(), "count": dy.Int64(min=1)}))


class PreparedPosts(dy.Schema):
    """Table `prepared_posts`: each row of `raw_posts` cleaned by itself.

    `text` is Markdown (NFC, `\\n` line ends) with personal data replaced (`personal` counts it by
    kind), kept also where the post is dropped as too short. `lines` is what `boilerplate`
    compares posts by; `byline` is the export's, or a name that the text gives as its
    author; `fields_hash` changes with anything in the row.
    """

    document_id = dy.String(primary_key=True, min_length=1)
    source_id = dy.String(min_length=1)
    source = dy.String()
    kind = dy.String()
    title = dy.String()
    url = dy.String()
    published_at = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    byline = dy.String()
    text = dy.String()
    language = dy.String()
    words = dy.Int64(min=0)
    dropped_because = dy.String()
    content_hash = dy.String(min_length=1)
    lines = dy.List(dy.Int64())
    personal = COUNTED
    fields_hash = dy.String(min_length=1)


class CleanedDocuments(dy.Schema):
    """One row for every row of `raw_posts`: kept, or dropped with the reason.

    `text` is Markdown (NFC, `\\n` line ends), empty where the document is dropped; `words` counts
    the cleaned text also there, so that a person can see what "too short" meant. A copy
    (`duplicate`: the same body, `near_duplicate`: nearly) names the kept one, and that one its
    `copies`. `personal` counts what was replaced, by kind.
    """

    document_id = dy.String(primary_key=True, min_length=1)
    source_id = dy.String(min_length=1)
    source = dy.String()
    kind = dy.String()
    title = dy.String()
    url = dy.String()
    published_at = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    byline = dy.String()
    text = dy.String()
    language = dy.String()
    words = dy.Int64(min=0)
    kept = dy.Bool()
    dropped_because = dy.String()
    duplicate_of = dy.String()
    copies = dy.List(dy.Struct({"document_id": dy.String(min_length=1), "url": dy.String()}))
    personal = COUNTED
    content_hash = dy.String(min_length=1)

    @dy.rule()
    def dropped_rows_have_a_reason(cls) -> pl.Expr:
        return pl.col("kept") == (pl.col("dropped_because") == "")

    @dy.rule()
    def kept_rows_have_text(cls) -> pl.Expr:
        return pl.col("kept") == (pl.col("text") != "")

    @dy.rule()
    def duplicates_name_the_kept_one(cls) -> pl.Expr:
        is_copy = pl.col("dropped_because").is_in(["duplicate", "near_duplicate"])
        return is_copy == (pl.col("duplicate_of") != "")

    @dy.rule()
    def only_kept_rows_have_copies(cls) -> pl.Expr:
        return pl.col("kept") | (pl.col("copies").list.len() == 0)

    @dy.rule()
    def text_is_normal(cls) -> pl.Expr:
        return ~pl.col("text").str.contains("[\\r\\x00\u00a0\ufeff]")

    @dy.rule()
    def kept_rows_have_words_and_a_language(cls) -> pl.Expr:
        return ~pl.col("kept") | ((pl.col("words") > 0) & (pl.col("language") != ""))


def columns_of(schema: type[dy.Schema]) -> Mapping[str, pl.DataType]:
    """Column name → Polars type, as `tables.sync` wants it; enumerations are stored as strings.

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
