"""Update the table `raw_posts` incrementally from an author's sources.

Scope: running one import, and reading the posts of the previous one. Out of scope: finding the
changes (`importing`), reading exports (`exports`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.corpus import importing
from twin_assets.corpus.corpus_tables import RawPosts, column_types
from twin_assets.corpus.importing import STORED_COLUMNS
from twin_assets.corpus.inventory import take_inventory
from twin_assets.corpus.reconciliation import count_values
from twin_resources.storage.tables.rows_by_id import sql_in_filter

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.storage.tables.tables import SyncResult, Tables


@dataclass(frozen=True)
class ImportedPosts:
    """The result of one import.

    Attributes:
        posts: the changes to `raw_posts`.
        failed: one message per source that could not be read.
        metadata: numbers for the asset's page, without the text of any post.
    """

    posts: SyncResult
    failed: list[str]
    metadata: Mapping[str, Any]


def update_raw_posts(store: Tables, author: Author) -> ImportedPosts:
    """Read an author's sources and bring `raw_posts` up to date."""
    from twin_resources.erasure.journal import read_forgotten_posts

    stored_posts = read_stored_import(store, author.slug)
    erased_posts = read_forgotten_posts(store.state, author.slug)
    with TemporaryDirectory(prefix="twin-import-") as scratch:
        inventory = take_inventory(author.sources, include=author.include, scratch=Path(scratch))
        frame = importing.build_inventory_frame(inventory, stored_posts, erased_posts=erased_posts)
        sync_result = store.sync(
            frame,
            "raw_posts",
            author=author.slug,
            key="source_id",
            function=lambda rows: importing.read_rows(
                rows,
                inventory,
                read_stored_rows=partial(read_stored_rows, store, author.slug),
                erased_posts=erased_posts,
            ),
            version=importing.IMPORT_VERSION,
            schema=column_types(RawPosts),
            row_key="source_id",
        )
    encodings = store.read("raw_posts", author.slug, columns=["encoding"], where="encoding != ''")
    post_changes = importing.count_changes(frame, stored_posts)
    failed_sources = [str(source) for source in inventory.failed]
    counts = {
        **{f"posts_{kind}": count for kind, count in post_changes.items()},
        "posts": frame.filter(~pl.col("deleted")).height,
        "converted_from": count_values(encodings["encoding"]),
        "layouts": inventory.layouts,
        "files_that_are_no_posts": inventory.skipped,
        "left_out_of_exports": inventory.count_excluded_items(),
        "sources_not_read": failed_sources,
        "unsure": {remark: len(posts) for remark, posts in inventory.remarks.items()},
    }
    return ImportedPosts(sync_result, failed_sources, counts)


def read_stored_import(store: Tables, author: str) -> pl.DataFrame | None:
    """Return the author's stored posts (`STORED_COLUMNS`), or None before the first import."""
    if not store.exists("raw_posts", author):
        return None
    return store.read("raw_posts", author, columns=list(STORED_COLUMNS))


def read_stored_rows(store: Tables, author: str, source_ids: Sequence[str]) -> pl.DataFrame:
    """Return the stored rows of `raw_posts` with these source ids."""
    return store.read("raw_posts", author, where=sql_in_filter("source_id", source_ids))
