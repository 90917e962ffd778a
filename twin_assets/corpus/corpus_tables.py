"""Define the data contract of the corpus stage: the rows of `raw_posts` and `cleaned_documents`.

Scope: columns, their types, and the rules for every row. Out of scope: creating a row (importers,
cleaning) or storing it (`twin_resources.storage.tables`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping

import dataframely as dy
import polars as pl


class RawPosts(dy.Schema):
    """Table `raw_posts`: one row per imported post; a deleted file remains as a tombstone.

    `source` is the folder, or the name of the importer (`linkedin`). `source_id` is the path in the
    folder, or `linkedin/` and the post's own identifier. `problem` is the reason why the post could
    not be read (`post_head.UnreadablePostError`), or empty. `kind` is `post` (dated), `note`
    (undated), `article`, `code`, `reply`, `draft` (dropped by cleaning) or `tombstone`. A draft
    that the author's settings include is a `post` with the visibility `private`. `byline` is the
    name of the field that contained the `author`. `file_hash` is the hash of the bytes on disk, or
    of the export's record. `content_hash` is the hash of the body with collapsed white space, so
    posts with the same hash have the same content. `local_time` is `created_at` as the site shows
    it, and null where no zone is known. `encoding` is the original encoding of a converted file
    (`windows-1252`), and empty for UTF-8 and for exports. `remark` says what is unsure about the
    date of a file (`posts.Post.remark`), or is empty.
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
    local_time = dy.Datetime(nullable=True, time_unit="us")
    updated_at = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    tags = dy.List(dy.String())
    file_hash = dy.String(min_length=1)
    content_hash = dy.String(min_length=1)
    deleted = dy.Bool()
    problem = dy.String()
    encoding = dy.String()
    remark = dy.String()

    @dy.rule()
    def unread_posts_have_no_text(cls) -> pl.Expr:
        return (pl.col("problem") == "") | (pl.col("text") == "")

    @dy.rule()
    def tombstones_have_no_text(cls) -> pl.Expr:
        return ~pl.col("deleted") | ((pl.col("text") == "") & (pl.col("kind") == "tombstone"))


COUNTS_BY_KIND = dy.List(dy.Struct({"kind": dy.String(), "count": dy.Int64(min=1)}))


class PreparedPosts(dy.Schema):
    """Each row of `raw_posts`, cleaned separately; the columns stay in `cleaned_documents`.

    `post_hash` is the hash of the row of `raw_posts` and of the cleaning's version. `body` is
    Markdown (NFC, `\\n` line ends) with personal data replaced, and `words` counts it.
    `own_reason` says why the post is dropped whatever the other posts are. `lines` are the hashes
    by which lines that repeat across posts are found. `byline` comes from the export, or from a
    line in the text that names its author. `dialogue_names` are the author's names by which a
    dialogue's turns were told, and empty for other posts, which no name changes. `personal` counts
    the replacements by kind.
    """

    document_id = dy.String(primary_key=True, min_length=1)
    source_id = dy.String(min_length=1)
    source = dy.String()
    kind = dy.String()
    title = dy.String()
    url = dy.String()
    published_at = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    byline = dy.String()
    language = dy.String()
    words = dy.Int64(min=0)
    personal = COUNTS_BY_KIND
    content_hash = dy.String(min_length=1)
    post_hash = dy.String(min_length=1)
    own_reason = dy.String()
    dialogue_names = dy.String()
    body = dy.String(nullable=True)
    lines = dy.List(dy.Int64())


class CleanedDocuments(PreparedPosts):
    """Table `cleaned_documents`: one row for every row of `raw_posts`, kept or dropped.

    `text` is the post's `body` without lines that repeat across posts, and empty if the document is
    dropped; `body` is null where it is the same. `words` counts the text, or the body of a dropped
    post, which shows how short a `too_short` post was. A copy (`duplicate` for the same body,
    `near_duplicate` for a similar one) names the kept document, which lists its `copies`. A
    document that breaks a claim or a rule is quarantined: `dropped_because` is `breaks_` and its
    name. Columns that begin with `measured_` are the numbers with which the claims are decided.
    """

    text = dy.String()
    kept = dy.Bool()
    dropped_because = dy.String()
    duplicate_of = dy.String()
    copies = dy.List(dy.Struct({"document_id": dy.String(min_length=1), "url": dy.String()}))
    measured_text_hash = dy.String(min_length=1)
    measured_platform_lines = dy.Int64(min=0)
    measured_signed = dy.String()
    measured_quotations = dy.Int64(min=0)
    measured_quotations_unmarked = dy.Int64(min=0)
    measured_edges = dy.List(dy.Int64())
    measured_words_changed = dy.Int64(min=0)

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


QUARANTINED = "breaks_"
"""How the reason of a quarantined document begins."""


def column_types(schema: type[dy.Schema]) -> Mapping[str, pl.DataType]:
    """Return the Polars types by column name, as `tables.sync` expects, with enums as strings.

    Lance has no enumeration type. The column is therefore Utf8, and the validator checks its
    values.
    """
    types = {name: column.dtype for name, column in schema.columns().items()}
    return {
        name: pl.String() if isinstance(dtype, pl.Enum) else dtype for name, dtype in types.items()
    }


def validate_rows(frame: pl.DataFrame, schema: type[dy.Schema]) -> pl.DataFrame:
    """Check `frame` and return it in the schema's column order; Enum columns remain strings.

    Raises:
        dataframely.exc.ValidationError: rows violate a rule; the error counts them by rule.
    """
    schema.validate(frame, cast=True)
    return frame.select(column_types(schema).keys())
