"""Build rows of `raw_posts` for files, for records of exports, and for posts without text.

Scope: the columns of each row. Out of scope: choosing the rows (`raw_posts_import`).
"""
# pyright: strict

from __future__ import annotations

import hashlib
from typing import Any

from twin_assets.corpus.importers.posts import Post, hash_content
from twin_assets.corpus.importers.record import ExportRecord
from twin_assets.corpus.importers.suffixes import get_markup

_SHARED_COLUMNS = (
    *("url", "author", "byline", "kind", "title", "text", "markup", "language"),
    *("visibility", "licence", "created_at", "local_time", "updated_at"),
)


def build_post_row(post: Post) -> dict[str, Any]:
    """Return the fields that come from the file.

    `raw_posts_import`, which has the author's settings, decides whether a draft is included.
    """
    return {
        **{name: getattr(post, name) for name in _SHARED_COLUMNS},
        "parent_id": "",
        "tags": post.tags,
        "content_hash": hash_content(post.text),
        "encoding": post.encoding,
        "remark": post.remark,
    }


def build_record_row(record: ExportRecord) -> dict[str, Any]:
    """Return the fields of an export's record; a draft becomes a private post."""
    draft_columns = {"kind": "post", "visibility": "private"} if record.kind == "draft" else {}
    has_text = bool(record.text.strip())
    return {
        **{name: getattr(record, name) for name in _SHARED_COLUMNS},
        **draft_columns,
        "parent_id": f"{record.source}/{record.parent_id}" if record.parent_id else "",
        "tags": list(record.tags),
        "content_hash": hash_content(record.text) if has_text else _make_unique_hash(record.row_id),
        "encoding": "",
        "remark": "",
    }


def build_empty_row(source_id: str, *, deleted: bool) -> dict[str, Any]:
    """Return a tombstone, or the row of a post that could not be read."""
    return {
        **dict.fromkeys((*_SHARED_COLUMNS, "parent_id", "encoding", "remark"), ""),
        "kind": "tombstone" if deleted else "note",
        "markup": get_markup(source_id) or "markdown",
        "visibility": "public",
        "created_at": None,
        "local_time": None,
        "updated_at": None,
        "tags": [],
        "content_hash": _make_unique_hash(source_id),
    }


def _make_unique_hash(source_id: str) -> str:
    """Return a unique hash, so that posts without text are not duplicates of each other."""
    return hashlib.sha256(f"no text: {source_id}".encode()).hexdigest()
