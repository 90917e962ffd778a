"""The exports that are damaged elsewhere are read whole as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.corpus.importers.marked_exports import EXPORTS, SECRET, marks
from tests.unit.corpus.importers.mutations import write_folder
from twin_assets.corpus.importers.archive import open_archive
from twin_assets.corpus.importers.recognition import IMPORTERS, find_importer
from twin_assets.corpus.importers.record import ExportRecord, exclusion_reason


def test_every_importer_has_a_marked_export() -> None:
    # A repository is damaged on its own (`test_damaged_exports._check_repository`).
    assert {*EXPORTS, "git"} == {importer.name for importer in IMPORTERS}


@pytest.mark.parametrize("name", EXPORTS)
def test_every_mark_is_found_and_no_secret(name: str, tmp_path: Path) -> None:
    export = EXPORTS[name]()
    bodies = {member: b"".join(p.body for p in pieces) for member, pieces in export.items()}
    write_folder(bodies, tmp_path / "export")
    with open_archive(tmp_path / "export") as archive:
        importer = find_importer(archive)
        assert importer is not None
        assert name == importer.name
        records = [
            one
            for one in importer.read(archive, include=frozenset())
            if isinstance(one, ExportRecord) and not exclusion_reason(one, frozenset())
        ]
    text = "\n".join(record.as_json() for record in records)
    wanted = [piece.mark for piece in marks(export)]
    assert len(wanted) >= 5
    assert [mark for mark in wanted if text.count(mark) != 1] == []
    assert SECRET not in text
