"""Update the tables `raw_posts` and `import_sources` from the sources incrementally.

Scope: one import, the rows of `import_sources`, data from the previous import. Out of scope:
finding the changes (`importing`), reading exports (`exported`).
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.corpus import importing
from twin_assets.corpus.cleaning_account import count_values, sum_counts
from twin_assets.corpus.corpus_tables import ImportSources, RawPosts, column_types, validate_rows
from twin_assets.corpus.importing import STORED_COLUMNS, ErasedPostsFilter
from twin_assets.corpus.inventory import Inventory, take_inventory

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
    """Read an author's sources and bring `raw_posts` and `import_sources` up to date."""
    stored_posts, imported_sources = read_stored_import(store, author.slug)
    erased_posts = load_erased_posts_filter(store, author.slug)
    with TemporaryDirectory(prefix="twin-import-") as scratch:
        inventory = take_inventory(
            author.sources, include=author.include, imported=imported_sources, scratch=Path(scratch)
        )
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
    # `import_sources` is stored last: after an interrupted run, the exports are only parsed again.
    sources = build_import_sources(inventory, imported_sources)
    store.sync(
        sources,
        "import_sources",
        author=author.slug,
        key="source",
        function=lambda rows: rows,
        version=importing.IMPORT_VERSION,
        schema=column_types(ImportSources),
        row_key="source",
    )
    post_changes = importing.count_changes(frame, stored_posts)
    failed_sources = [str(source) for source in inventory.failed]
    counts = {
        **{f"posts_{kind}": count for kind, count in post_changes.items()},
        "posts": frame.filter(~pl.col("deleted")).height,
        "converted_from": count_encodings(store, author.slug),
        "layouts": inventory.layouts,
        "files_that_are_no_posts": inventory.skipped,
        "left_out_of_exports": sum_counts(*map(json.loads, sources["skipped_by_reason"])),
        "exports_unchanged": sorted(inventory.unchanged),
        "sources_not_read": failed_sources,
        "unsure": {remark: len(posts) for remark, posts in inventory.remarks.items()},
    }
    return ImportedPosts(sync_result, failed_sources, counts)


def read_stored_import(
    store: Tables, author: str
) -> tuple[pl.DataFrame | None, pl.DataFrame | None]:
    """Return the author's posts (`STORED_COLUMNS`) and `import_sources`, or None for each."""
    if not store.exists("raw_posts", author):
        return None, None
    posts = store.read("raw_posts", author, columns=list(STORED_COLUMNS))
    has_import_sources = store.exists("import_sources", author)
    return posts, store.read("import_sources", author) if has_import_sources else None


def read_stored_rows(store: Tables, author: str, source_ids: Sequence[str]) -> pl.DataFrame:
    """Return the stored rows of `raw_posts` with these source ids."""
    quoted_ids = ", ".join("'" + source_id.replace("'", "''") + "'" for source_id in source_ids)
    return store.read("raw_posts", author, where=f"source_id IN ({quoted_ids})")


def load_erased_posts_filter(store: Tables, author: str) -> ErasedPostsFilter:
    """Return a filter for the author's erased posts, which must not be imported again."""
    from twin_resources.erasure.journal import forgotten_posts

    return forgotten_posts(store.state, author)


def count_encodings(store: Tables, author: str) -> dict[str, int]:
    """Return the number of stored posts by the encoding they had, most frequent first."""
    rows = store.read("raw_posts", author, columns=["encoding"], where="encoding != ''")
    return count_values(rows["encoding"])


def build_import_sources(inventory: Inventory, imported: pl.DataFrame | None) -> pl.DataFrame:
    """Return the rows of `import_sources` after this import.

    Importers keep their rows if their exports are unchanged or if no export could be read. An
    importer whose export was only partly read has no row, so its exports are read again next time.
    Malformed rows stay counted, because the same bytes would give the same rows.
    """
    rows: list[dict[str, Any]] = []
    if imported is not None:
        unchanged_sources = inventory.unchanged | (
            inventory.export_importers - inventory.exports.keys()
        )
        rows += imported.filter(pl.col("source").is_in(sorted(unchanged_sources))).to_dicts()
    for name in sorted(inventory.exports.keys() - inventory.unchanged):
        exports = inventory.exports[name]
        reading = exports.read()
        if reading.can_be_retried:
            continue
        rows.append(
            {
                "source": name,
                "digest": exports.digest,
                "found": reading.total_items,
                "records": len(reading),
                "skipped": reading.excluded.total(),
                "skipped_by_reason": json.dumps(dict(sorted(reading.excluded.items()))),
            }
        )
    return validate_rows(pl.DataFrame(rows, schema=column_types(ImportSources)), ImportSources)
