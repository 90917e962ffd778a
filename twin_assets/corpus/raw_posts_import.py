"""Turn an inventory of sources into the rows of `raw_posts`: new, changed and deleted posts.

Scope: one import, tombstones, rows from files and records. Out of scope: finding the posts
(`inventory`), the meaning of a file (`importers`), the columns of a row (`raw_rows`), storing
(`twin_resources.storage.tables`), Dagster.

A failed read is not an empty read. The posts of a file, folder or export that exists but currently
cannot be read are kept. If a feed does not answer but other sources do, its posts are kept too. A
source that cannot be read for a different reason is an error and does not delete posts.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.corpus.corpus_tables import RawPosts, column_types, validate_rows
from twin_assets.corpus.importers.post_head import UnreadablePostError
from twin_assets.corpus.importers.posts import NOT_YET_PUBLISHED, read_post
from twin_assets.corpus.importers.record import ExportRecord
from twin_assets.corpus.inventory import Inventory, find_addition_time, take_inventory
from twin_assets.corpus.raw_rows import build_empty_row, build_post_row, build_record_row
from twin_assets.corpus.reconciliation import count_values
from twin_assets.corpus.sources import IMPORT_VERSION
from twin_resources.storage.storage_faults import StorageError
from twin_resources.storage.tables.rows_by_id import sql_in_filter

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.erasure.journal import ErasedPosts
    from twin_resources.storage.tables.tables import SyncResult, Tables

STORED_COLUMNS = ("source", "source_id", "path", "file_hash", "deleted", "problem")
"""Columns of the stored `raw_posts` that `build_inventory_frame` and `count_changes` read."""

OnProgress = Callable[[str, int, int], object]
"""Function that receives a stage, the number of posts that are done and of all posts."""

StoredRowsReader = Callable[[Sequence[str]], pl.DataFrame]
"""Reader of stored `raw_posts` rows by `source_id`, for posts that cannot be read again."""

_INVENTORY_SCHEMA = {
    "source_id": pl.String(),
    "source": pl.String(),
    "path": pl.String(),
    "file_hash": pl.String(),
    "site": pl.String(),
    "problem": pl.String(),
    "deleted": pl.Boolean(),
    # A changed value causes the post to be read again, even if its bytes are the same.
    "again": pl.String(),
}
_EMPTY_FIELDS = {"path": "", "site": "", "problem": "", "deleted": False, "again": ""}


def build_inventory_frame(
    inventory: Inventory,
    stored: pl.DataFrame | None = None,
    *,
    erased_posts: ErasedPosts | None = None,
) -> pl.DataFrame:
    """Return the upstream of `raw_posts`: one row per existing post, and one per deleted post.

    Args:
        inventory: the current posts.
        stored: `STORED_COLUMNS` of the stored table, or None if there is none yet.
        erased_posts: erased posts, for which no row may be created, not even a tombstone.
    """
    file_rows = _build_files_frame(inventory)
    record_rows = pl.DataFrame(_build_record_rows(inventory), schema=_INVENTORY_SCHEMA)
    current_ids = inventory.posts.keys() | set(record_rows["source_id"])
    stored_rows = _select_relevant_rows(inventory, stored, listed_ids=current_ids)
    is_stored = pl.col("source_id").is_in(pl.Series(list(stored_rows), dtype=pl.String).implode())
    adjusted_rows = [
        _apply_stored_state(row, stored_rows[row["source_id"]], opt_ins=inventory.file_opt_ins)
        for row in file_rows.filter(is_stored).to_dicts()
    ]
    adjusted_rows += [
        _build_missing_post_row(inventory, stored_row)
        for source_id, stored_row in stored_rows.items()
        if source_id not in current_ids
    ]
    adjusted_frame = pl.DataFrame(adjusted_rows, schema=_INVENTORY_SCHEMA)
    frame = pl.concat([file_rows.filter(~is_stored), record_rows, adjusted_frame])
    if erased_posts is not None:
        frame = frame.filter(
            [
                not erased_posts.contains_source(source_id)
                for source_id in frame["source_id"].to_list()
            ]
        )
    return frame.sort("source_id")


def count_changes(frame: pl.DataFrame, stored: pl.DataFrame | None) -> dict[str, int]:
    """Count the posts that an import of `frame` (from `build_inventory_frame`) would change."""
    current_posts, stored_posts = (
        rows.filter(~pl.col("deleted")).select("source_id", "file_hash")
        for rows in (frame, frame.clear() if stored is None else stored)
    )
    pairs = current_posts.join(stored_posts, on="source_id", how="full", suffix="_stored")
    return {
        "added": pairs["file_hash_stored"].null_count(),
        "edited": int((pairs["file_hash"] != pairs["file_hash_stored"]).sum()),
        "deleted": pairs["file_hash"].null_count(),
    }


def read_rows(
    frame: pl.DataFrame,
    inventory: Inventory,
    *,
    read_stored_rows: StoredRowsReader | None = None,
    on_progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> pl.DataFrame:
    """Read the files, and return rows of `raw_posts` for rows of `build_inventory_frame`.

    The rows are `corpus_tables.RawPosts`. An unusable file affects only its own row; `problem`
    gives the reason.

    Args:
        frame: rows of `build_inventory_frame`.
        inventory: the inventory from which `frame` was built.
        read_stored_rows: reader of the stored rows of records that their export no longer contains,
            such as a feed's older posts; None before the first import.
        on_progress: called with the number of posts read and of all posts.
    """
    records: dict[str, ExportRecord] = {}
    existing_posts = frame.filter(~pl.col("deleted"))
    for name, exports in inventory.exports.items():
        source_ids = existing_posts.filter(pl.col("source") == name)["source_id"].to_list()
        records |= exports.records(source_ids) if source_ids else {}
    missing_ids = existing_posts.filter(pl.col("source").is_in(sorted(inventory.export_importers)))[
        "source_id"
    ].to_list()
    missing_ids = [source_id for source_id in missing_ids if source_id not in records]
    stored = (
        read_stored_rows(missing_ids).to_dicts()
        if read_stored_rows is not None and missing_ids
        else []
    )
    stored_rows = {str(row["source_id"]): row for row in stored}
    rows: list[dict[str, Any]] = []
    for done, row in enumerate(frame.to_dicts()):
        on_progress(done, frame.height)
        rows.append(_build_raw_post_row(row, inventory, records=records, stored_rows=stored_rows))
    return validate_rows(pl.DataFrame(rows, schema=column_types(RawPosts)), RawPosts)


@dataclass(frozen=True)
class ImportResult:
    """The result of one import.

    Attributes:
        sync_result: the changes to `raw_posts`.
        inventory: what the sources contain.
        changes: the numbers of added, edited and deleted posts since the earlier import.
    """

    sync_result: SyncResult
    inventory: Inventory
    changes: Mapping[str, int]

    @property
    def failures(self) -> list[str]:
        """One message for each source that could not be read."""
        return [str(source) for source in self.inventory.failed_sources]


def update_raw_posts(
    tables: Tables,
    author: Author,
    *,
    earlier: Tables | None,
    finished: Tables | None = None,
    on_progress: OnProgress = lambda _stage, _done, _total: None,
) -> ImportResult:
    """Read an author's sources and bring `raw_posts` up to date.

    Args:
        earlier: the tables with the author's earlier import and the record of erased posts: those
            of the home, also if `tables` are a preview's; None if the home has none yet.
        finished: other tables, from which rows of equal posts are copied instead of reading the
            posts again.
        on_progress: called with the stage, the number of posts that are done and of all posts.
    """
    from twin_resources.erasure.journal import read_forgotten_posts

    slug, types = author.slug, column_types(RawPosts)
    on_progress("listing posts", 0, 0)
    stored_posts = earlier and read_stored_import(earlier, slug)
    erased_posts = earlier and read_forgotten_posts(earlier.state, slug)
    inventory = take_inventory(author.sources, include=author.include, exclude=author.exclude)
    frame = build_inventory_frame(inventory, stored_posts, erased_posts=erased_posts)
    done, total = 0, frame.height

    def begin_batch(batch: range, input_count: int) -> None:
        nonlocal done, total
        done, total = batch.start, input_count

    def compute_rows(inputs: pl.DataFrame) -> pl.DataFrame:
        copies = _copy_finished_rows(finished, slug, inputs)
        rows = read_rows(
            inputs.join(copies, on="source_id", how="anti"),
            inventory,
            read_stored_rows=earlier and partial(read_stored_rows, earlier, slug),
            on_progress=lambda read, _: on_progress(
                "reading posts", done + copies.height + read, total
            ),
        )
        rows = pl.concat([copies, rows])
        if erased_posts is None:
            return rows
        is_erased = [erased_posts.contains_text(text_hash) for text_hash in rows["content_hash"]]
        return rows.filter(~pl.Series(is_erased, dtype=pl.Boolean))

    sync_result = tables.sync(
        frame,
        "raw_posts",
        author=slug,
        key="source_id",
        function=compute_rows,
        version=IMPORT_VERSION,
        schema=types,
        row_key="source_id",
        on_batch=begin_batch,
    )
    return ImportResult(sync_result, inventory, count_changes(frame, stored_posts))


def _copy_finished_rows(finished: Tables | None, slug: str, inputs: pl.DataFrame) -> pl.DataFrame:
    """Return the finished rows of these inputs, without posts that could not be read."""
    types = column_types(RawPosts)
    if finished is None:
        return pl.DataFrame(schema=types)
    try:
        rows = finished.read_computed(
            "raw_posts", slug, inputs, key="source_id", version=IMPORT_VERSION, schema=types
        )
    except StorageError:  # the command that made the preview has ended, and removed its tables
        return pl.DataFrame(schema=types)
    return rows.filter(pl.col("problem") != "unreadable")


def build_import_metadata(result: ImportResult, posts: pl.DataFrame) -> dict[str, Any]:
    """Return numbers for the asset's page, without the text of any post.

    Args:
        posts: `deleted`, `encoding` and `remark` of `raw_posts` after the import.
    """
    inventory, remarks = result.inventory, posts.filter(pl.col("remark") != "")["remark"]
    return {
        **{f"posts_{change}": count for change, count in result.changes.items()},
        "posts": posts.filter(~pl.col("deleted")).height,
        "converted_from": count_values(posts.filter(pl.col("encoding") != "")["encoding"]),
        "layouts": inventory.layouts,
        "files_that_are_no_posts": inventory.skipped_counts,
        "left_out_of_exports": inventory.count_excluded_items(),
        "sources_not_read": result.failures,
        "unsure": count_values(remarks),
    }


def read_stored_import(tables: Tables, author: str) -> pl.DataFrame | None:
    """Return the author's stored posts (`STORED_COLUMNS`), or None before the first import."""
    if not tables.exists("raw_posts", author):
        return None
    return tables.read("raw_posts", author, columns=list(STORED_COLUMNS))


def read_stored_rows(tables: Tables, author: str, source_ids: Sequence[str]) -> pl.DataFrame:
    """Return the stored rows of `raw_posts` with these source ids."""
    return tables.read("raw_posts", author, where=sql_in_filter("source_id", source_ids))


def _select_relevant_rows(
    inventory: Inventory, stored: pl.DataFrame | None, *, listed_ids: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Return the few stored rows that affect a post's row, by `source_id`.

    These posts could not be read then or now, have a future date, or no longer exist. There
    are too many other posts to create an object for each.
    """
    if stored is None:
        return {}
    unreadable_ids = [name for name, (_, file) in inventory.posts.items() if file.problem]
    listed_series = pl.Series("source_id", list(listed_ids), dtype=pl.String)
    rows = stored.filter(
        pl.col("problem").is_in(["unreadable", NOT_YET_PUBLISHED])
        | pl.col("source_id").is_in(pl.Series(unreadable_ids, dtype=pl.String).implode())
        | ~pl.col("source_id").is_in(listed_series.implode())
    )
    return {str(row["source_id"]): row for row in rows.to_dicts()}


def _build_files_frame(inventory: Inventory) -> pl.DataFrame:
    """Return one row per file, as stored on disk."""
    sites = {id(folder): folder.site.as_json() for folder in inventory.folders}
    posts = inventory.posts.values()
    return pl.DataFrame(
        {
            "source_id": list(inventory.posts),
            "source": [folder.source for folder, _ in posts],
            "path": [file.address for _, file in posts],
            "file_hash": [file.file_hash or "unreadable" for _, file in posts],
            "site": [sites[id(folder)] for folder, _ in posts],
            "problem": [file.problem for _, file in posts],
            "deleted": [False] * len(posts),
            "again": [inventory.file_opt_ins] * len(posts),
        },
        schema=_INVENTORY_SCHEMA,
    )


def _apply_stored_state(
    row: dict[str, Any], stored_row: Mapping[str, Any], *, opt_ins: str
) -> dict[str, Any]:
    """Return a file's row, taking its stored row into account."""
    if stored_row["deleted"]:
        return row
    if row["problem"] == "unreadable":
        return row | _keep_stored_fields(stored_row)
    if stored_row["problem"] == "unreadable":
        # The file was found by the scan but could not be read, so it is read again.
        is_same = stored_row["file_hash"] == row["file_hash"]
        return row | {"again": "unreadable" if is_same else opt_ins}
    if stored_row["problem"] == NOT_YET_PUBLISHED:  # its date may pass without an edit
        return row | {"again": datetime.now(UTC).date().isoformat()}
    return row


def _build_record_rows(inventory: Inventory) -> list[dict[str, Any]]:
    """Return the rows of the exports' records.

    The export's file name is not part of a row; otherwise each new export would edit
    every post.
    """
    return [
        _EMPTY_FIELDS | {"source_id": row_id, "source": name, "file_hash": digest}
        for name, exports in inventory.exports.items()
        for row_id, digest in exports.digests()
    ]


def _build_missing_post_row(inventory: Inventory, stored_row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a stored post that was not found: kept or deleted."""
    row = _EMPTY_FIELDS | {key: stored_row[key] for key in ("source_id", "source", "path")}
    if not stored_row["deleted"]:
        if (folder := inventory.find_unlisted_folder(stored_row)) is not None:
            return row | {"site": folder.site.as_json()} | _keep_stored_fields(stored_row)
        if inventory.should_keep_record(stored_row):
            return row | _keep_stored_fields(stored_row)
    return row | {"file_hash": "deleted", "deleted": True}


def _build_raw_post_row(
    row: Mapping[str, Any],
    inventory: Inventory,
    *,
    records: Mapping[str, ExportRecord],
    stored_rows: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    source_id, file_hash = str(row["source_id"]), str(row["file_hash"])
    problem, fields = str(row["problem"]), None
    if source_id in records:
        fields = build_record_row(records[source_id])
    elif source_id in stored_rows:
        stored_row = stored_rows[source_id]
        fields = {name: stored_row[name] for name in build_empty_row(source_id, deleted=False)}
        problem = str(stored_row["problem"])
    elif str(row["source"]) in inventory.export_importers and not row["deleted"]:
        problem = "unreadable"
    elif not row["deleted"] and not problem:
        try:
            # The row describes the bytes that were read; a file that has changed since the scan is
            # read again next time.
            folder, file = inventory.posts[source_id]
            body, file_hash = file.read()
            post = read_post(
                body,
                source_id=source_id,
                site=folder.site,
                added_at=lambda: find_addition_time(folder, file),
            )
            fields = build_post_row(post)
        except UnreadablePostError as error:
            problem = error.reason
        except OSError:
            problem = "unreadable"
    if fields is not None and source_id in inventory.posts:
        problem = problem or _find_exclusion_reason(fields, inventory.include)
        fields = None if problem else fields
    if fields is not None and fields["kind"] == "draft" and "drafts" in inventory.include:
        fields["kind"] = "post" if fields["created_at"] else "note"
    base = {
        "source": row["source"],
        "source_id": source_id,
        "path": row["path"],
        "file_hash": file_hash,
        "deleted": row["deleted"],
        "problem": problem,
    }
    return base | (fields or build_empty_row(source_id, deleted=bool(row["deleted"])))


def _find_exclusion_reason(fields: Mapping[str, Any], include: frozenset[str]) -> str:
    """Return why a folder's post is not imported; drafts are imported, but cleaning drops them."""
    visibility = str(fields["visibility"])
    is_withheld = fields["kind"] != "draft" and visibility != "public" and visibility not in include
    return visibility if is_withheld else ""


def _keep_stored_fields(stored_row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that keep a currently unreadable row unchanged."""
    problem_at_scan = (
        stored_row["problem"] if stored_row["problem"] in {"too_large", "unreadable"} else ""
    )
    return {"file_hash": stored_row["file_hash"], "problem": problem_at_scan}
