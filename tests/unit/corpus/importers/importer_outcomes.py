"""Read a small export that a test writes to disk.

Scope: an importer's outcomes by kind. Out of scope: writing files (`export_files`), exports.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from twin_assets.corpus.importers.archive import open_archive
from twin_assets.corpus.importers.importer import Importer
from twin_assets.corpus.importers.record import ExportRecord, SkippedItem


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
    with open_archive(path) as archive:
        assert importer.recognizes(archive)
        outcomes = list(importer.read(archive, include=frozenset(include)))
    records = [outcome for outcome in outcomes if isinstance(outcome, ExportRecord)]
    skipped = [outcome for outcome in outcomes if isinstance(outcome, SkippedItem)]
    records_by_id = {record.source_id: record for record in records}
    assert len(records_by_id) == len(records)
    assert all(record.source == importer.name for record in records)
    return ImporterOutcomes(
        records_by_id,
        {outcome.location: outcome.reason for outcome in skipped},
        Counter(outcome.reason for outcome in skipped),
    )
