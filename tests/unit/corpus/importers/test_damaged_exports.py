"""Test exports that are cut short or damaged: no crash, no silent loss, no secret.

An export is rejected, or each of its whole posts is read or counted with a reason.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.unit.corpus.export_files import write_folder, write_zip
from tests.unit.corpus.importers.marked_exports import (
    EXPORTS,
    SECRET,
    iter_marked_pieces,
    join_pieces,
)
from twin_assets.corpus.exports import Exports
from twin_assets.corpus.importers.archive import FAILED_READS, open_archive
from twin_assets.corpus.importers.recognition import IMPORTERS, find_importer
from twin_assets.corpus.importers.record import ExportRecord, SkippedItem, find_exclusion_reason
from twin_resources.errors import TwinError


def _read(path: Path) -> tuple[str, list[ExportRecord], list[SkippedItem]] | None:
    """Return the importer's name and its outcomes, or None if the export is rejected."""
    try:
        with open_archive(path) as archive:
            importer = find_importer(archive)
            if importer is None:
                return None
            outcomes = list(importer.read(archive, include=frozenset()))
            content = Exports(importer)
            content.add(outcomes, include=frozenset(), archive=archive)
            skipped = [SkippedItem("archive", reason) for reason in archive.rejection_counts]
    except TwinError:
        return None
    assert len(content) == len(outcomes) - content.exclusion_counts.total()
    records: list[ExportRecord] = []
    for outcome in outcomes:
        if isinstance(outcome, SkippedItem):
            skipped.append(outcome)
        elif reason := find_exclusion_reason(outcome, frozenset()):
            skipped.append(SkippedItem(outcome.source_id, reason))
        else:
            records.append(outcome)
    return importer.name, records, skipped


def test_every_importer_has_an_export_here() -> None:
    assert {*EXPORTS} == {importer.name for importer in IMPORTERS}


@pytest.mark.parametrize("name", EXPORTS)
def test_an_undamaged_export_has_every_post_and_no_secret(name: str, tmp_path: Path) -> None:
    export = EXPORTS[name]()
    outcome = _read(write_folder(join_pieces(export), tmp_path / "export"))
    assert outcome is not None
    assert outcome[0] == name
    text = "\n".join(record.as_json() for record in outcome[1])
    marks = [piece.mark for piece in iter_marked_pieces(export)]
    assert len(marks) >= 5
    assert [mark for mark in marks if text.count(mark) != 1] == []
    assert SECRET not in text


def find_silent_losses(name: str, folder: Path) -> list[str]:
    """Cut each file of an export short four times; return the whole posts that nothing counts."""
    export = EXPORTS[name]()
    losses: list[str] = []
    for number, member in enumerate(sorted(export) * 4):
        bodies = join_pieces(export)
        length = random.Random(number).randrange(len(bodies[member]))
        bodies[member] = bodies[member][:length]
        outcome = _read(write_folder(bodies, folder / str(number)))
        if outcome is None or outcome[0] != name:
            continue
        _, records, skipped = outcome
        text = "\n".join(record.as_json() for record in records)
        assert SECRET not in text
        losses += [
            f"{member}[:{length}]: {piece.mark}"
            for file, pieces in export.items()
            for piece in pieces
            if piece.mark and piece.body in bodies[file] and piece.mark not in text
            if not any(
                skip.location == file
                or (piece.identifier and skip.location.endswith(piece.identifier))
                for skip in skipped
            )
        ]
    return losses


@pytest.mark.parametrize("name", EXPORTS)
def test_a_file_that_is_cut_short_loses_no_whole_post_in_silence(name: str, tmp_path: Path) -> None:
    assert find_silent_losses(name, tmp_path) == []


@pytest.mark.parametrize("name", EXPORTS)
def test_a_damaged_zip_is_rejected_or_its_losses_are_counted(name: str, tmp_path: Path) -> None:
    export = EXPORTS[name]()
    for seed in range(10):
        path = write_zip(join_pieces(export), tmp_path / f"{seed}.zip")
        rng, content = random.Random(seed), bytearray(path.read_bytes())
        for _ in range(rng.choice((1, 2, 5))):
            position = rng.randrange(len(content))
            content[position : position + rng.choice((1, 4, 40))] = rng.randbytes(
                rng.choice((0, 4))
            )
        path.write_bytes(content[: rng.choice((len(content), len(content), rng.randrange(60_000)))])
        outcome = _read(path)
        if outcome is None or outcome[0] != name:
            continue
        _, records, skipped = outcome
        text = "\n".join(record.text for record in records)
        assert SECRET not in text
        lost_marks = [piece.mark for piece in iter_marked_pieces(export) if piece.mark not in text]
        assert not lost_marks or skipped, f"seed {seed}: {lost_marks}"


def test_a_list_without_its_header_is_a_failed_read(tmp_path: Path) -> None:
    bodies = join_pieces(EXPORTS["linkedin"]())
    bodies["Shares.csv"] = bodies["Shares.csv"].replace(b"ShareCommentary", b"ShareComentary")
    outcome = _read(write_folder(bodies, tmp_path))
    assert outcome is not None
    assert [skip.location for skip in outcome[2] if skip.reason in FAILED_READS] == ["Shares.csv"]
