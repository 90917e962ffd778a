"""Read all exports of one importer into records by key, and count the excluded items.

Scope: combining a platform's exports, and the opt-ins. Out of scope: reading a format
(`importers`), rows of `raw_posts` (`raw_posts_import`).
"""
# pyright: strict

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from twin_assets.corpus.importers.archive import FAILED_READS, Archive
from twin_assets.corpus.importers.importer import Importer
from twin_assets.corpus.importers.record import (
    ExportItem,
    ExportRecord,
    SkippedItem,
    find_exclusion_reason,
)
from twin_resources.authors import OPT_INS
from twin_resources.errors import TwinError

_WITHHELD_REASONS = frozenset({"draft", "private", "followers", "paid", "unknown_visibility"})
"""Reasons for withholding a post that exists; such a post does not count as deleted."""


@dataclass
class Exports:
    """The content of all of an author's exports that one importer reads.

    Attributes:
        importer: the importer that reads them.
        exclusion_counts: the number of excluded records and parts, by reason.
        rejection_counts: the number of rejected archive members, by reason.
        is_incomplete: whether a part could not be read, so missing records do not count as deleted.
    """

    importer: Importer
    exclusion_counts: Counter[str] = field(default_factory=Counter[str])
    rejection_counts: Counter[str] = field(default_factory=Counter[str])
    is_incomplete: bool = False
    _records: dict[str, ExportRecord] = field(default_factory=dict[str, ExportRecord])
    _withheld_ids: set[str] = field(default_factory=set[str])

    def __len__(self) -> int:
        return len(self._records)

    def digests(self) -> list[tuple[str, str]]:
        """Return the `row_id` and digest of every record, ordered by `row_id`."""
        return [(row_id, record.digest()) for row_id, record in sorted(self._records.items())]

    def records(self, row_ids: Iterable[str]) -> dict[str, ExportRecord]:
        """Return the records with these `row_ids`, by `row_id`; unknown ids are ignored."""
        return {row_id: self._records[row_id] for row_id in row_ids if row_id in self._records}

    def is_withheld(self, row_id: str) -> bool:
        """Return whether the newest export with this post marks it as a draft or as restricted."""
        return row_id in self._withheld_ids

    def add(
        self, items: Iterable[ExportItem], *, include: frozenset[str], archive: Archive
    ) -> None:
        """Add one export; its records replace those of an older export.

        Withheld posts also replace older records, so that a post that was once public is removed.
        """
        seen_ids: set[str] = set()
        for item in items:
            if isinstance(item, SkippedItem):
                record, reason, source_id = None, item.reason, item.location
            else:
                record, reason = item.to_storable(), find_exclusion_reason(item, include)
                source_id = record.source_id
            if record is None or reason:
                self.exclusion_counts[reason] += 1
                self.is_incomplete |= reason in FAILED_READS
                if reason in _WITHHELD_REASONS:
                    self._withhold(f"{self.importer.name}/{source_id}", seen_ids)
                continue
            if record.row_id in seen_ids:
                self.exclusion_counts["same_id_twice"] += 1
                continue
            seen_ids.add(record.row_id)
            if record.row_id in self._records:
                self.exclusion_counts["older_copy"] += 1
            self._withheld_ids.discard(record.row_id)
            self._records[record.row_id] = record
        self.rejection_counts.update(archive.rejection_counts)
        self.is_incomplete |= not FAILED_READS.isdisjoint(archive.rejection_counts)

    def _withhold(self, row_id: str, seen_ids: set[str]) -> None:
        """Withhold a post; within one export, a restricted entry overrides a public one."""
        row_id = row_id.encode("utf-8", "replace").decode()
        if self._records.pop(row_id, None):
            self.exclusion_counts["same_id_twice" if row_id in seen_ids else "older_copy"] += 1
        seen_ids.add(row_id)
        self._withheld_ids.add(row_id)


def read_exports(
    importer: Importer, archives: Iterable[Archive], *, include: frozenset[str]
) -> Exports:
    """Read exports, ordered by the time of their newest member.

    Exports without a usable record are rejected, because an empty download must not delete posts.

    Raises:
        TwinError: an opt-in is unknown, or no record is usable; the latter error counts the
            excluded items by reason.
    """
    if unknown_opt_ins := include - OPT_INS:
        raise TwinError(
            f"import the {importer.title}",
            found=f"unknown values in `include`: {', '.join(sorted(unknown_opt_ins))}",
            next_step=f"use only these values: {', '.join(sorted(OPT_INS))}",
        )
    exports = Exports(importer)
    dated_archives = sorted(archives, key=lambda archive: (archive.written_at, archive.path))
    for archive in dated_archives:
        items = importer.read(archive, include=include)
        exports.add(items, include=include, archive=archive)
    if len(exports) or importer.latest_only:
        return exports
    exclusions = ", ".join(
        f"{count} × {reason}" for reason, count in sorted(exports.exclusion_counts.items())
    )
    raise TwinError(
        f"import posts from {', '.join(archive.path.name for archive in dated_archives)}",
        found=f"no post to import in the {importer.title} ({exclusions or 'empty'})",
        next_step="request the whole archive from the platform, or add the kinds of posts to "
        "import to the author's `include`",
    )
