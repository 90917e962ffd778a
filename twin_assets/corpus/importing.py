"""An author's sources → the rows of `raw_posts`: what is there, what changed, what is gone.

Belongs here: several sources as one inventory, tombstones, rows from files.
Does not belong here: what a file means (`importers`), storing (`twin_resources.tables`), Dagster.

A failed read is not an empty read: a file or folder that is there and cannot be read now keeps its
last import, and a source that cannot be read at all is an error, never 461 deletions.
"""
# pyright: strict

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from twin_assets.corpus.importers.exports import refuse_exports
from twin_assets.corpus.importers.folders import Folder, PostFile, display, scan
from twin_assets.corpus.importers.posts import (
    Post,
    Site,
    UnreadablePostError,
    content_hash,
    markup_of,
    read_post,
)
from twin_assets.corpus.schema import RawPosts, columns_of, validated
from twin_resources.errors import TwinError

IMPORT_VERSION = "1"
"""Version of `read_rows`: a higher one reads every file again."""

STORED_COLUMNS = ("source", "source_id", "path", "file_hash", "deleted", "problem")
"""What `inventory_frame` and `changes` need to know of the stored `raw_posts`."""

_INVENTORY_SCHEMA = {
    "source_id": pl.String(),
    "source": pl.String(),
    "path": pl.String(),
    "file_hash": pl.String(),
    "site": pl.String(),
    "problem": pl.String(),
    "deleted": pl.Boolean(),
    "again": pl.Boolean(),
}


@dataclass(frozen=True)
class Inventory:
    """Every post of every source of one author.

    Attributes:
        folders: the sources, in the author's order.
        posts: `source_id` → its folder and file.
        skipped: reason → number of files that are no posts.
    """

    folders: tuple[Folder, ...]
    posts: dict[str, tuple[Folder, PostFile]]
    skipped: dict[str, int]


@dataclass(frozen=True)
class Changes:
    """Identifiers of posts that came, changed and went since the stored import."""

    added: tuple[str, ...]
    edited: tuple[str, ...]
    deleted: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        return {
            "added": len(self.added),
            "edited": len(self.edited),
            "deleted": len(self.deleted),
        }


def take_inventory(sources: Sequence[str | Path]) -> Inventory:
    """Scan an author's sources.

    A post is known by its path in its source; where two sources have the same path, the later
    one's is prefixed with its folder's name.

    Raises:
        TwinError: there is no source, or one cannot be read, is another platform's export, or has
            no post (an unmounted folder looks like an empty one, and is no reason to delete all).
    """
    if not sources:
        raise TwinError(
            "import posts",
            found="an author without sources",
            next_step="name a folder: `twin up PATH --author NAME`",
        )
    folders: list[Folder] = []
    for source in sources:
        refuse_exports(Path(source))
        folders.append(scan(Path(source)))
    skipped: Counter[str] = Counter()
    posts: dict[str, tuple[Folder, PostFile]] = {}
    for folder in folders:
        _require_posts(folder)
        skipped.update(folder.skipped)
        name = folder.source.rstrip("/").rsplit("/", 1)[-1]
        for file in folder.posts:
            source_id = file.source_id
            while source_id in posts:
                source_id = f"{name}/{source_id}"
            posts[source_id] = (folder, file)
    return Inventory(tuple(folders), posts, dict(sorted(skipped.items())))


def _require_posts(folder: Folder) -> None:
    if folder.posts:
        return
    there = ", ".join(f"{count} × {reason}" for reason, count in folder.skipped.items())
    raise TwinError(
        f"import posts from {folder.source}",
        found=f"no Markdown or HTML post ({there or 'nothing'})",
        next_step="name the folder that holds the posts (.md, .markdown or .html)",
    )


def inventory_frame(inventory: Inventory, stored: pl.DataFrame | None = None) -> pl.DataFrame:
    """The upstream of `raw_posts`: a row a post that is there, and one a post that is gone.

    Args:
        inventory: what is there now.
        stored: `STORED_COLUMNS` of the table as it stands; None when there is none yet.
    """
    known = {} if stored is None else {str(row["source_id"]): row for row in stored.to_dicts()}
    rows: list[dict[str, Any]] = []
    for source_id, (folder, file) in inventory.posts.items():
        row = {
            "source_id": source_id,
            "source": folder.source,
            "path": display(file.path),
            "file_hash": file.file_hash or "unreadable",
            "site": folder.site.as_json(),
            "problem": file.problem,
            "deleted": False,
            "again": False,
        }
        before = known.get(source_id)
        if before is not None and not before["deleted"]:
            if file.problem == "unreadable":
                row |= _as_before(before)
            elif before["problem"] == "unreadable":
                # It was there at the scan and gone at the read: the same bytes deserve a new try.
                row["again"] = before["file_hash"] == file.file_hash
        rows.append(row)
    for source_id, before in known.items():
        if source_id in inventory.posts:
            continue
        folder = _folder_that_hides(inventory, before)
        row = {key: before[key] for key in ("source_id", "source", "path")} | {"again": False}
        if folder is not None and not before["deleted"]:
            row |= {"site": folder.site.as_json(), "deleted": False} | _as_before(before)
        else:
            row |= {"file_hash": "deleted", "site": "", "problem": "", "deleted": True}
        rows.append(row)
    return pl.DataFrame(rows, schema=_INVENTORY_SCHEMA).sort("source_id")


def changes(frame: pl.DataFrame, stored: pl.DataFrame | None) -> Changes:
    """What an import of `frame` (from `inventory_frame`) would add, edit and delete."""
    before: dict[str, str] = {}
    if stored is not None:
        alive = stored.filter(~pl.col("deleted"))
        before = dict(zip(alive["source_id"].to_list(), alive["file_hash"].to_list(), strict=True))
    now = frame.filter(~pl.col("deleted"))
    after = dict(zip(now["source_id"].to_list(), now["file_hash"].to_list(), strict=True))
    return Changes(
        added=tuple(sorted(after.keys() - before.keys())),
        edited=tuple(
            sorted(key for key in after.keys() & before.keys() if after[key] != before[key])
        ),
        deleted=tuple(sorted(before.keys() - after.keys())),
    )


def read_rows(frame: pl.DataFrame, inventory: Inventory) -> pl.DataFrame:
    """Rows of `raw_posts` (`schema.RawPosts`) for rows of `inventory_frame`; reads the files.

    One bad file costs its own row, with the reason in `problem`, and nothing else.
    """
    rows = [_row(row, inventory) for row in frame.to_dicts()]
    return validated(pl.DataFrame(rows, schema=columns_of(RawPosts)), RawPosts)


def _row(row: Mapping[str, Any], inventory: Inventory) -> dict[str, Any]:
    source_id, file_hash = str(row["source_id"]), str(row["file_hash"])
    problem, post = str(row["problem"]), None
    if not row["deleted"] and not problem:
        try:
            body = inventory.posts[source_id][1].path.read_bytes()
            # The row says what was read: a file that changed since the scan is read again next
            # time.
            file_hash = hashlib.sha256(body).hexdigest()
            post = read_post(body, source_id=source_id, site=Site.from_json(str(row["site"])))
        except UnreadablePostError as error:
            problem = error.reason
        except OSError:
            problem = "unreadable"
    base = {
        "source": row["source"],
        "source_id": source_id,
        "path": row["path"],
        "file_hash": file_hash,
        "deleted": row["deleted"],
        "problem": problem,
    }
    return base | (_fields(post) if post else _no_fields(source_id, deleted=bool(row["deleted"])))


def _fields(post: Post) -> dict[str, Any]:
    return {
        "url": post.url,
        "author": post.author,
        "kind": post.kind,
        "title": post.title,
        "text": post.text,
        "markup": post.markup,
        "created_at": post.created_at,
        "updated_at": post.updated_at,
        "tags": post.tags,
        "content_hash": content_hash(post.text),
    }


def _no_fields(source_id: str, *, deleted: bool) -> dict[str, Any]:
    return {
        "url": "",
        "author": "",
        "kind": "tombstone" if deleted else "note",
        "title": "",
        "text": "",
        "markup": markup_of(source_id) or "markdown",
        "created_at": None,
        "updated_at": None,
        "tags": [],
        # Its own, so that posts without text are not one another's duplicates.
        "content_hash": hashlib.sha256(f"no text: {source_id}".encode()).hexdigest(),
    }


def _as_before(before: Mapping[str, Any]) -> dict[str, Any]:
    """The fields by which a row that cannot be read now stays what it was."""
    at_scan = before["problem"] if before["problem"] in {"too_large", "unreadable"} else ""
    return {"file_hash": before["file_hash"], "problem": at_scan}


def _folder_that_hides(inventory: Inventory, before: Mapping[str, Any]) -> Folder | None:
    """The source in which a missing post may still lie, in a folder that cannot be listed now."""
    for folder in inventory.folders:
        if folder.source == before["source"] and any(
            str(before["path"]).startswith(f"{folder.source}/{prefix}")
            for prefix in folder.unlisted
        ):
            return folder
    return None
