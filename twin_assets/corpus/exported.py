"""Read the exports of one importer: every record by its key, and counts of the excluded items.

Scope: combining a platform's exports, the opt-ins, when an export is read again. Out of
scope: reading a format (`importers`), rows of `raw_posts` (`importing`).

An export is streamed into SQLite's private temporary file (unlinked while it is open, see
https://www.sqlite.org/inmemorydb.html#temp_db), so memory use does not grow with its size.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from twin_assets.corpus.importers.archive import (
    FAILED_READS,
    RETRYABLE_REASONS,
    Archive,
    open_archive,
)
from twin_assets.corpus.importers.importer import Importer
from twin_assets.corpus.importers.record import OPT_INS, ExportRecord, Skipped, exclusion_reason
from twin_resources.errors import TwinError

_KEYS_PER_QUERY = 500
_WITHHELD_REASONS = frozenset({"draft", "private", "followers", "paid", "unknown_visibility"})
"""Reasons for excluding an existing post from the twin; such a post is not missing."""


@dataclass
class ExportReading:
    """The content of the exports of one importer.

    Attributes:
        source: the importer's name.
        excluded: the number of excluded records and parts, by reason.
        refused: the number of unlisted archive members (`Archive.refused`), by reason.
        has_failed: whether a part could not be read, so missing records do not count as deleted.
        can_be_retried: whether a retry may read such a part completely; a malformed row stays
            malformed.
    """

    source: str
    excluded: Counter[str] = field(default_factory=Counter[str])
    refused: Counter[str] = field(default_factory=Counter[str])
    has_failed: bool = False
    can_be_retried: bool = False

    def __post_init__(self) -> None:
        self._rows = sqlite3.connect("", check_same_thread=False)
        self._rows.execute("PRAGMA cache_size = -8192")  # KiB; the rest spills to disk
        self._rows.execute(
            "CREATE TABLE record (row_id TEXT PRIMARY KEY, digest TEXT, body TEXT) WITHOUT ROWID"
        )
        self._rows.execute("CREATE TABLE withheld (row_id TEXT PRIMARY KEY) WITHOUT ROWID")

    def __len__(self) -> int:
        return int(self._rows.execute("SELECT count(*) FROM record").fetchone()[0])

    @property
    def total_items(self) -> int:
        return len(self) + self.excluded.total()

    def digests(self) -> Iterator[tuple[str, str]]:
        """Yield the `row_id` and the digest of every record, ordered by `row_id`."""
        yield from self._rows.execute("SELECT row_id, digest FROM record ORDER BY row_id")

    def records(self, row_ids: Sequence[str]) -> dict[str, ExportRecord]:
        """Return the records among `row_ids` that exist."""
        records: dict[str, ExportRecord] = {}
        for start in range(0, len(row_ids), _KEYS_PER_QUERY):
            part = row_ids[start : start + _KEYS_PER_QUERY]
            marks = ", ".join("?" * len(part))
            rows = self._rows.execute(
                f"SELECT row_id, body FROM record WHERE row_id IN ({marks})",
                part,
            )
            records |= {row_id: ExportRecord.from_json(body) for row_id, body in rows}
        return records

    def is_withheld(self, row_id: str) -> bool:
        """Return whether the newest export with this post marks it as a draft or as restricted."""
        query = "SELECT count(*) FROM withheld WHERE row_id = ?"
        return bool(self._rows.execute(query, (row_id,)).fetchone()[0])

    def add(
        self, items: Iterable[ExportRecord | Skipped], *, include: frozenset[str], archive: Archive
    ) -> None:
        """Add one export; its records replace those of an older export.

        Its withheld posts also replace older records, so a formerly public post is removed.
        """
        seen: set[bytes] = set()
        for item in items:
            reason = item.reason if isinstance(item, Skipped) else exclusion_reason(item, include)
            if isinstance(item, Skipped) or reason:
                self.excluded[reason] += 1
                self.has_failed |= reason in FAILED_READS
                self.can_be_retried |= reason in RETRYABLE_REASONS
                if reason in _WITHHELD_REASONS:
                    name = (
                        item.location if isinstance(item, Skipped) else item.to_storable().source_id
                    )
                    self._withhold(f"{self.source}/{name}", seen)
                continue
            record = item.to_storable()
            row_hash = _hash_row_id(record.row_id)
            if row_hash in seen:
                self.excluded["same_id_twice"] += 1
                continue
            seen.add(row_hash)
            replaced = self._rows.execute(
                "DELETE FROM record WHERE row_id = ?", (record.row_id,)
            ).rowcount
            if replaced:
                self.excluded["older_copy"] += 1
            self._rows.execute("DELETE FROM withheld WHERE row_id = ?", (record.row_id,))
            self._rows.execute(
                "INSERT INTO record VALUES (?, ?, ?)",
                (record.row_id, record.digest(), record.as_json()),
            )
        self._rows.commit()
        self.refused.update(archive.refused)
        self.has_failed |= not FAILED_READS.isdisjoint(archive.refused)
        self.can_be_retried |= not RETRYABLE_REASONS.isdisjoint(archive.refused)

    def _withhold(self, row_id: str, seen: set[bytes]) -> None:
        """Withhold a post; within an export, a restricted entry overrides a public one."""
        row_id = row_id.encode("utf-8", "replace").decode()
        row_hash = _hash_row_id(row_id)
        removed = self._rows.execute("DELETE FROM record WHERE row_id = ?", (row_id,)).rowcount
        if removed:
            self.excluded["same_id_twice" if row_hash in seen else "older_copy"] += 1
        seen.add(row_hash)
        self._rows.execute("INSERT OR IGNORE INTO withheld VALUES (?)", (row_id,))


def _hash_row_id(row_id: str) -> bytes:
    """Return an 8-byte hash of the identifier, which saves 60 MB for a million posts."""
    return hashlib.blake2b(row_id.encode(), digest_size=8).digest()


class Exports:
    """All exports of one importer that an author named.

    Attributes:
        importer: the importer that reads them.
        paths: the exports from the oldest to the newest, by their content.
        digest: the hash of their bytes, the opt-ins and `version`; an equal digest means no change.
    """

    def __init__(
        self,
        importer: Importer,
        archives: Iterable[Archive],
        *,
        include: frozenset[str],
        version: str,
    ) -> None:
        """Hash the exports; the first call of `read` parses them.

        Raises:
            TwinError: an export cannot be read, or an opt-in is unknown.
        """
        if unknown := include - OPT_INS:
            raise TwinError(
                f"import {importer.title}",
                found=f"unknown opt-ins {', '.join(sorted(unknown))}",
                next_step=f"use only these in `include`: {', '.join(sorted(OPT_INS))}",
            )
        self.importer = importer
        self.include = include
        dated = sorted(
            (archive.written_at, importer.digest(archive), archive.path) for archive in archives
        )
        self.paths = tuple(path for *_, path in dated)
        key = [importer.name, version, sorted(include), [digest for _, digest, _ in dated]]
        self.digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
        self._reading: ExportReading | None = None

    @property
    def name(self) -> str:
        return self.importer.name

    @property
    def is_full_export(self) -> bool:
        """Whether missing posts count as deleted; a feed contains only the latest posts."""
        return not self.importer.latest_only

    def read(self) -> ExportReading:
        """Return the exports' content, parsed once.

        Raises:
            TwinError: an export can no longer be opened.
        """
        if self._reading is None:
            reading = ExportReading(self.name)
            for path in self.paths:
                with open_archive(path) as archive:
                    reading.add(
                        self.importer.read(archive, include=self.include),
                        include=self.include,
                        archive=archive,
                    )
            self._reading = reading
        return self._reading


def format_export_names(paths: Iterable[Path]) -> str:
    """Return the names of the exports for a message."""
    return ", ".join(path.name for path in paths)
