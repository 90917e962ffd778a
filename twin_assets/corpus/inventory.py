"""What an author's sources hold now: files and exports as one inventory.

Belongs here: several sources as one, which of them need no reading, what a source that cannot be
read now still keeps.
Does not belong here: finding and opening a source (`sources`, `importers`, `exported`), rows of
`raw_posts` (`importing`), Dagster.
"""
# pyright: strict

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from twin_assets.corpus.exported import Exports
from twin_assets.corpus.importers.folders import Folder, PostFile
from twin_assets.corpus.sources import FailedSource, find_sources


@dataclass(frozen=True)
class Inventory:
    """Every post of every source of one author.

    Attributes:
        folders: the sources of plain files, in the author's order.
        posts: `source_id` → its folder and file.
        skipped: reason → number of files that are no posts.
        exports: importer's name → its exports.
        unchanged: names of those that are as they were at the last import, and are not parsed.
        drafts: whether drafts are asked for.
        failed: sources that could not be read this time; what they held stays.
    """

    folders: tuple[Folder, ...]
    posts: dict[str, tuple[Folder, PostFile]]
    skipped: dict[str, int]
    exports: Mapping[str, Exports] = field(default_factory=dict[str, Exports])
    unchanged: frozenset[str] = frozenset()
    drafts: bool = False
    failed: tuple[FailedSource, ...] = ()

    @property
    def of_exports(self) -> frozenset[str]:
        """Names of the importers whose rows are records, read or not."""
        return frozenset({*self.exports, *(one.importer for one in self.failed)})

    @property
    def layouts(self) -> list[str]:
        """What each source is: a folder's layout, or an importer's name."""
        return [*(folder.layout for folder in self.folders), *self.exports]

    def excluded(self) -> dict[str, int]:
        """Reason → what exports hold and an import leaves out, most frequent first."""
        total: Counter[str] = Counter()
        for exports in self.exports.values():
            total.update(exports.reading().excluded)
        return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))

    def keeps(self, before: Mapping[str, Any]) -> bool:
        """Whether a missing record stays: its export was not parsed, or not whole, or is a feed.

        One that the export has, and has for somebody else, is not missing.

        Args:
            before: the record's stored row of `raw_posts`.
        """
        exports = self.exports.get(str(before["source"]))
        if exports is None:
            return str(before["source"]) in self.of_exports
        if exports.name in self.unchanged:
            return True
        reading = exports.reading()
        known = reading.withholds(str(before["source_id"]))
        return not known and (not exports.holds_all or reading.failed)

    def folder_that_hides(self, before: Mapping[str, Any]) -> Folder | None:
        """The source in which a missing file may still lie, in a folder that cannot be listed.

        Args:
            before: the file's stored row of `raw_posts`.
        """
        for folder in self.folders:
            if folder.source == before["source"] and any(
                str(before["path"]).startswith(f"{folder.source}/{prefix}")
                for prefix in folder.unlisted
            ):
                return folder
        return None


def take_inventory(
    sources: Sequence[str | Path],
    *,
    include: Sequence[str] = (),
    imported: pl.DataFrame | None = None,
    scratch: Path | None = None,
) -> Inventory:
    """Scan an author's sources; changed exports are parsed.

    A post is known by its path in its source; where two sources have the same path, the later
    one's is prefixed with its folder's name. A record is known by its platform and identifier.

    Args:
        sources: folders, files, exports.
        include: opt-ins of the author (`record.OPT_INS`).
        imported: the stored `import_sources`; only with rows of `raw_posts` to go with it.
        scratch: a folder for copies of exports in S3 and of feeds, kept until the rows are read;
            needed when the sources have such.

    Raises:
        TwinError: there is no source, or one cannot be read, is another platform's export, or has
            no post (an unmounted folder looks like an empty one, and is no reason to delete all).
    """
    found = find_sources(sources, include=frozenset(include), scratch=scratch)
    before = {} if imported is None else dict(imported.select("source", "digest").rows())
    posts: dict[str, tuple[Folder, PostFile]] = {}
    skipped: Counter[str] = Counter()
    for folder in found.folders:
        skipped.update(folder.skipped)
        name = folder.source.rstrip("/").rsplit("/", 1)[-1]
        for file in folder.posts:
            source_id = file.source_id
            while source_id in posts:
                source_id = f"{name}/{source_id}"
            posts[source_id] = (folder, file)
    unchanged = {name for name, one in found.exports.items() if before.get(name) == one.digest}
    for name in found.exports.keys() - unchanged:
        reading = found.exports[name].reading()
        skipped.update({f"in an archive: {reason}": n for reason, n in reading.refused.items()})
        found.require_records(name)
    return Inventory(
        found.folders,
        posts,
        dict(sorted(skipped.items())),
        exports=found.exports,
        unchanged=frozenset(unchanged),
        drafts="drafts" in include,
        failed=found.failed,
    )
