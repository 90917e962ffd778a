"""Read a small export that a test writes to disk.

Scope: an importer's outcomes by kind. Out of scope: writing files (`export_files`), exports.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from twin_assets.corpus.importers.archive import open_archive
from twin_assets.corpus.importers.importer import Importer
from twin_assets.corpus.importers.record import ExportRecord, SkippedItem, find_exclusion_reason


@dataclass(frozen=True)
class ImporterOutcomes:
    """The outcomes of an importer: records by `source_id`, and skip reasons by location."""

    records: dict[str, ExportRecord]
    skip_reasons: dict[str, str]
    reason_counts: Counter[str]

    @property
    def record(self) -> ExportRecord:
        assert len(self.records) == 1, self
        return next(iter(self.records.values()))


def read_export(path: Path, importer: Importer, *include: str) -> ImporterOutcomes:
    """Read an export that `importer` must recognize; each `source_id` must be unique."""
    opt_ins = frozenset(include)
    with open_archive(path) as archive:
        assert importer.find_files(archive)
        items = [
            SkippedItem(item.source_id, reason)
            if isinstance(item, ExportRecord) and (reason := find_exclusion_reason(item, opt_ins))
            else item
            for item in importer.read(archive, include=opt_ins)
        ]
    records = [item.to_storable() for item in items if isinstance(item, ExportRecord)]
    skipped = [item for item in items if isinstance(item, SkippedItem)]
    records_by_id = {record.source_id: record for record in records}
    assert len(records_by_id) == len(records)
    assert all(record.source == importer.name for record in records)
    return ImporterOutcomes(
        records_by_id,
        {item.location: item.reason for item in skipped},
        Counter(item.reason for item in skipped),
    )
