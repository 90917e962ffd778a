"""Combine the current files and exports of an author's sources in one inventory.

Scope: combining sources, and keeping the posts of a source that currently cannot be read. Out of
scope: finding and opening a source (`sources`, `importers`, `exports`), rows of `raw_posts`
(`raw_posts_import`), and Dagster.
"""
# pyright: strict

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from twin_assets.corpus.exports import Exports
from twin_assets.corpus.importers.folders import PostFile, SourceScan
from twin_assets.corpus.importers.git_history import GitError
from twin_assets.corpus.reconciliation import sum_counts
from twin_assets.corpus.sources import FailedSource, find_sources

_MAX_FILES_PER_COMMIT = 20
_MAX_FILES_IN_FIRST_COMMIT = 3
"""Maximum size of a commit that dates its files; files in a larger commit are often older."""


@dataclass(frozen=True)
class Inventory:
    """Every post of every source of one author.

    Attributes:
        folders: the sources of plain files, in the author's order.
        posts: the folder and file of each post, by `source_id`.
        skipped_counts: the number of files that are not posts, by reason.
        exports: the exports by their importer's name.
        include: the kinds of content imported in addition to public posts (`author_file.OPT_INS`).
        failed_sources: sources that currently cannot be read; their posts are kept.
    """

    folders: tuple[SourceScan, ...]
    posts: dict[str, tuple[SourceScan, PostFile]]
    skipped_counts: dict[str, int]
    exports: Mapping[str, Exports] = field(default_factory=dict[str, Exports])
    include: frozenset[str] = frozenset()
    failed_sources: tuple[FailedSource, ...] = ()

    @property
    def export_importers(self) -> frozenset[str]:
        """The importers whose rows are records, including those whose source could not be read."""
        return frozenset({*self.exports, *(source.importer for source in self.failed_sources)})

    @property
    def file_opt_ins(self) -> str:
        """The opt-ins that affect a folder's posts; a change causes them to be read again."""
        return " ".join(sorted(self.include - {"replies"}))

    @property
    def layouts(self) -> list[str]:
        """The kind of each source: a folder's layout, or an importer's name."""
        return [*(folder.layout for folder in self.folders), *self.exports]

    def count_excluded_items(self) -> dict[str, int]:
        """Return the number of excluded export items by reason, the most frequent first."""
        return sum_counts(*(exports.exclusion_counts for exports in self.exports.values()))

    def should_keep_record(self, stored_row: Mapping[str, Any]) -> bool:
        """Return whether to keep a missing record: its export is a feed, or was not fully parsed.

        A record that the export marks as a draft or as restricted is not missing.

        Args:
            stored_row: the record's stored row of `raw_posts`.
        """
        exports = self.exports.get(str(stored_row["source"]))
        if exports is None:
            return str(stored_row["source"]) in self.export_importers
        is_withheld = exports.is_withheld(str(stored_row["source_id"]))
        return not is_withheld and (exports.importer.latest_only or exports.is_incomplete)

    def find_unlisted_folder(self, stored_row: Mapping[str, Any]) -> SourceScan | None:
        """Return the source with a folder that cannot be listed and may contain a missing file.

        Return None if there is no such source.

        Args:
            stored_row: the file's stored row of `raw_posts`.
        """
        for folder in self.folders:
            if folder.source == stored_row["source"] and any(
                str(stored_row["path"]).startswith(f"{folder.source}/{prefix}")
                for prefix in folder.unlisted_prefixes
            ):
                return folder
        return None


def find_addition_time(folder: SourceScan, file: PostFile) -> tuple[datetime | None, str]:
    """Return when a post was added to its repository, and the remark on this date.

    The time is None if git gives no evidence. A commit with many files shows when git was first
    used, not when each file was written.
    """
    try:
        addition = folder.additions.get(file.source_id)
    except GitError as error:
        return None, f"no_date_from_git: {error.found}"
    if addition is None:
        return None, ""
    if addition.file_count > (
        _MAX_FILES_IN_FIRST_COMMIT if addition.is_root_commit else _MAX_FILES_PER_COMMIT
    ):
        return None, "came_in_one_piece"
    return addition.added_at, "dated_by_git"


def take_inventory(
    sources: Sequence[str | Path], *, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Inventory:
    """Scan an author's sources, parse the exports, and return their inventory.

    A post is identified by its path in its source. If two sources have the same path, the later one
    is prefixed with its folder's name. A record is identified by its platform and identifier.

    Args:
        sources: folders, files and exports.
        include: the author's opt-ins (`author_file.OPT_INS`).
        exclude: the globs of what the author leaves out of folders (`Author.exclude`).

    Raises:
        TwinError: there is no source, or a source cannot be read, has an unsupported format, or has
            no posts (an unmounted folder looks empty and must not delete everything).
    """
    opened_sources = find_sources(sources, include=frozenset(include), exclude=exclude)
    posts: dict[str, tuple[SourceScan, PostFile]] = {}
    skipped_counts: Counter[str] = Counter()
    for folder in opened_sources.folders:
        skipped_counts.update(folder.skipped_counts)
        name = folder.source.rstrip("/").rsplit("/", 1)[-1]
        for file in folder.posts:
            source_id = file.source_id
            while source_id in posts:
                source_id = f"{name}/{source_id}"
            posts[source_id] = (folder, file)
    for exports in opened_sources.exports.values():
        skipped_counts.update(
            {f"in an archive: {reason}": n for reason, n in exports.rejection_counts.items()}
        )
    return Inventory(
        opened_sources.folders,
        posts,
        dict(sorted(skipped_counts.items())),
        exports=opened_sources.exports,
        include=frozenset(include),
        failed_sources=opened_sources.failed_sources,
    )
