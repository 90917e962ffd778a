"""Update the tables `raw_posts` and `import_sources` from the sources, processing only changes.

Scope: one import, the rows of `import_sources`, data from the previous import. Out of scope:
finding the changes (`importing`), reading exports (`exported`).
"""
# pyright: strict

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.corpus import importing
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
        failed: a line for each source that could not be read.
        metadata: numbers for the asset's page, without any post's text.
    """

    posts: SyncResult
    failed: list[str]
    metadata: Mapping[str, Any]


def update_raw_posts(store: Tables, author: Author) -> ImportedPosts:
    """Read an author's sources and bring `raw_posts` and `import_sources` up to date."""
    stored, imported = read_stored_import(store, author.slug)
    erased_posts = load_erased_posts_filter(store, author.slug)
    with TemporaryDirectory(prefix="twin-import-") as scratch:
        inventory = take_inventory(
            author.sources, include=author.include, imported=imported, scratch=Path(scratch)
        )
        frame = importing.build_inventory_frame(inventory, stored, erased_posts=erased_posts)
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
    # Store this after the posts: if the run stops in between, the exports are only parsed again.
    sources = build_import_sources(inventory, imported)
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
    changed = importing.changes(frame, stored)
    failed = [str(source) for source in inventory.failed]
    counts = {
        **{f"posts_{kind}": count for kind, count in changed.counts().items()},
        "posts": frame.filter(~pl.col("deleted")).height,
        "converted_from": count_encodings(store, author.slug),
        "layouts": inventory.layouts,
        "files_that_are_no_posts": inventory.skipped,
        "left_out_of_exports": count_skipped_items(sources),
        "exports_unchanged": sorted(inventory.unchanged),
        "sources_not_read": failed,
        "unsure": {remark: len(posts) for remark, posts in inventory.remarks.items()},
    }
    return ImportedPosts(sync_result, failed, counts)


def read_stored_import(
    store: Tables, author: str
) -> tuple[pl.DataFrame | None, pl.DataFrame | None]:
    """Return the author's posts (`STORED_COLUMNS`) and `import_sources`, each None if missing."""
    if not store.exists("raw_posts", author):
        return None, None
    posts = store.read("raw_posts", author, columns=list(STORED_COLUMNS))
    known = store.exists("import_sources", author)
    return posts, store.read("import_sources", author) if known else None


def read_stored_rows(store: Tables, author: str, source_ids: Sequence[str]) -> pl.DataFrame:
    """Return stored rows of `raw_posts` with their stored columns."""
    quoted = ", ".join("'" + source_id.replace("'", "''") + "'" for source_id in source_ids)
    return store.read("raw_posts", author, where=f"source_id IN ({quoted})")


def load_erased_posts_filter(store: Tables, author: str) -> ErasedPostsFilter:
    """Return a filter for the author's posts that must not be imported again."""
    from twin_resources.erasure.journal import forgotten_posts

    return forgotten_posts(store.state, author)


def count_skipped_items(sources: pl.DataFrame) -> dict[str, int]:
    """Return the number of skipped export items by reason, over all rows of `import_sources`."""
    total: Counter[str] = Counter()
    for text in sources["skipped_by_reason"]:
        total.update(json.loads(text))
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def count_encodings(store: Tables, author: str) -> dict[str, int]:
    """Return the number of stored posts converted to UTF-8 by encoding, most frequent first."""
    rows = store.read("raw_posts", author, columns=["encoding"], where="encoding != ''")
    total = Counter(rows["encoding"].to_list())
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def build_import_sources(inventory: Inventory, imported: pl.DataFrame | None) -> pl.DataFrame:
    """Return rows of `import_sources` after this import.

    Importers keep their rows if their exports are unchanged or if no export could be read. An
    importer with a partly unread export has no row and is therefore read again next time. Malformed
    rows stay counted, because the same bytes would give the same rows.
    """
    rows: list[dict[str, Any]] = []
    if imported is not None:
        kept_sources = inventory.unchanged | (inventory.export_importers - inventory.exports.keys())
        rows += imported.filter(pl.col("source").is_in(sorted(kept_sources))).to_dicts()
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
