"""Read a small export that a test writes down.

Scope: files to an archive, outcomes by kind. Out of scope: exports of platforms.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from twin_assets.corpus.importers.archive import open_archive
from twin_assets.corpus.importers.importer import Importer
from twin_assets.corpus.importers.record import ExportRecord, Skipped


@dataclass(frozen=True)
class Found:
    """What an importer yields: records by `source_id`, reasons by `where`, and their counts."""

    records: dict[str, ExportRecord]
    skipped: dict[str, str]
    reasons: Counter[str]

    @property
    def only(self) -> ExportRecord:
        assert len(self.records) == 1, self
        return next(iter(self.records.values()))


def found_in(path: Path, importer: Importer, *include: str) -> Found:
    """Read an export that `importer` must recognise; each `source_id` must be its own."""
    with open_archive(path) as archive:
        assert importer.recognises(archive)
        outcomes = list(importer.read(archive, include=frozenset(include)))
    records = [outcome for outcome in outcomes if isinstance(outcome, ExportRecord)]
    skipped = [outcome for outcome in outcomes if isinstance(outcome, Skipped)]
    by_id = {record.source_id: record for record in records}
    assert len(by_id) == len(records)
    assert all(record.source == importer.name for record in records)
    return Found(
        by_id,
        {one.location: one.reason for one in skipped},
        Counter(one.reason for one in skipped),
    )


def folder_of(files: dict[str, str], at: Path) -> Path:
    for name, text in files.items():
        path = at / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return at


def zip_of(files: dict[str, str], at: Path) -> Path:
    with zipfile.ZipFile(at, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return at


def tar_gz_of(files: dict[str, str], folder: Path, at: Path) -> Path:
    folder_of(files, folder)
    with tarfile.open(at, "w:gz") as archive:
        for name in files:
            archive.add(folder / name, arcname=name)
    return at
