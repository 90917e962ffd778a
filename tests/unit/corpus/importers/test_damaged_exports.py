"""Test damaged exports: no crash, no silent loss, no leak, bounded time and memory.

A seed determines the damage to each export (of a platform or a site's folder). The short form
reads 332 exports, and the long form 5,000. Reading one of them
- yields only records and `SkippedItem`s, or raises a `TwinError`;
- counts each outcome once, as kept or with a reason, with or without opt-ins;
- finds the text of each undamaged post, or yields a `SkippedItem` for the post or its file;
- imports no draft, message, comment or address whose own bytes are undamaged.
"""

from __future__ import annotations

import re
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.corpus.export_files import write_folder
from tests.unit.corpus.importers.marked_exports import (
    EXPORTS,
    FOLDERS,
    SECRET,
    Export,
    iter_marked_pieces,
    join_pieces,
)
from tests.unit.corpus.importers.mutations import DamagedExport, damage, write_damaged_zip
from twin_assets.corpus.exports import Exports
from twin_assets.corpus.importers.archive import FAILED_READS, ArchiveLimits, open_archive
from twin_assets.corpus.importers.recognition import IMPORTERS, find_importer
from twin_assets.corpus.importers.record import ExportRecord, SkippedItem, find_exclusion_reason
from twin_assets.corpus.inventory import take_inventory
from twin_assets.corpus.raw_posts_import import build_inventory_frame, read_rows
from twin_resources.authors import OPT_INS
from twin_resources.errors import TwinError

_MAX_CPU_S = 20.0
"""CPU time for one export of about 200 KB; the slowest of 5,000 took a hundredth of this time."""

_DRAFT_LINE = re.compile(rb"^(?:published: false|draft = true)$", re.MULTILINE)
_MAX_GROWTH_KB = 300_000
_LIMITS = ArchiveLimits(max_member_bytes=8 << 20, max_read_bytes=64 << 20)


def _peak_memory_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _find_miscounts(path: Path, include: frozenset[str]) -> list[str]:
    """Return the claims about an import's counts that do not hold."""
    with open_archive(path, limits=_LIMITS) as archive:
        importer = find_importer(archive)
        assert importer is not None, "a second read does not recognize the export"
        outcomes = list(importer.read(archive, include=include))
        content = Exports(importer)
        content.add(outcomes, include=include, archive=archive)
    row_ids = {row_id for row_id, _ in content.digests()}
    claims = {
        "each skip has a reason": all(
            outcome.reason for outcome in outcomes if isinstance(outcome, SkippedItem)
        ),
        "each outcome is kept or excluded": (
            len(row_ids) == len(content) == len(outcomes) - content.exclusion_counts.total()
        ),
        "each record has its own id": row_ids
        == {record.row_id for record in content.records(row_ids).values()},
    }
    return [claim for claim, holds in claims.items() if not holds]


def _read(path: Path) -> tuple[str, list[ExportRecord], list[SkippedItem]] | None:
    """Return the importer's name and its outcomes, or None if the export is rejected."""
    try:
        with open_archive(path, limits=_LIMITS) as archive:
            importer = find_importer(archive)
            if importer is None:
                return None
            outcomes = list(importer.read(archive, include=frozenset()))
            skipped = [SkippedItem("archive", reason) for reason in archive.rejection_counts]
    except TwinError:
        return None
    records: list[ExportRecord] = []
    for outcome in outcomes:
        if isinstance(outcome, SkippedItem):
            skipped.append(outcome)
        elif reason := find_exclusion_reason(outcome, frozenset()):
            skipped.append(SkippedItem(outcome.source_id, reason))
        else:
            outcome.to_storable().as_json().encode()
            records.append(outcome)
    return importer.name, records, skipped


def _find_lost_posts(
    damaged: DamagedExport, records: list[ExportRecord], skipped: list[SkippedItem]
) -> list[str]:
    """Return the undamaged posts that have neither a record nor a `SkippedItem`."""
    text = "\n".join(record.text for record in records)
    locations = {skip.location for skip in skipped}
    return [
        piece.mark
        for member, piece in damaged.undamaged
        if piece.mark not in text
        and locations.isdisjoint({member, piece.identifier})
        and not (
            len(piece.identifier) > 1
            and any(location.endswith(piece.identifier) for location in locations)
        )
    ]


def find_faults_of_export(name: str, seed: int, folder: Path) -> list[str]:
    """Damage an importer's export, read it, and return the faults of the result."""
    export = EXPORTS[name]()
    damaged = damage(export, seed)
    path = write_folder(damaged.bodies, folder / str(seed))
    start_s = time.process_time()
    outcome = _read(path)
    faults = ["reading takes too long"] if time.process_time() - start_s > _MAX_CPU_S else []
    if outcome is None:
        return faults
    faults += _find_miscounts(path, OPT_INS if seed % 2 else frozenset())
    shutil.rmtree(path)
    importer, records, skipped = outcome
    if not _is_secret_damaged(export, damaged):
        faults += [
            f"{record.source_id} is secret" for record in records if SECRET in record.as_json()
        ]
    if importer == name:  # another importer may read part of an export that lost its own marks
        faults += [f"{mark} is lost" for mark in _find_lost_posts(damaged, records, skipped)]
    return [f"{damaged.description}: {fault}" for fault in faults]


def _is_secret_damaged(export: Export, damaged: DamagedExport) -> bool:
    """Return whether the damage may have turned a draft into a post.

    In front matter, a single line declares a draft. As long as this line is intact, other damage
    cannot publish the draft.
    """
    return any(
        SECRET.encode() in piece.body
        and (
            not _DRAFT_LINE.search(body)
            if _DRAFT_LINE.search(piece.body)
            else body != piece.body
            if len(pieces) == 1
            else piece.body not in body
        )
        for name, pieces in export.items()
        for body in [damaged.bodies[name]]
        for piece in pieces
    )


@pytest.mark.parametrize("name", EXPORTS)
def test_a_damaged_zip_is_rejected_or_its_losses_are_counted(name: str, tmp_path: Path) -> None:
    export = EXPORTS[name]()
    bodies = join_pieces(export)
    for seed in range(15):
        outcome = _read(write_damaged_zip(bodies, tmp_path / f"{seed}.zip", seed))
        if outcome is None or outcome[0] != name:
            continue
        _, records, skipped = outcome
        text = "\n".join(record.text for record in records)
        assert SECRET not in text
        lost_marks = [piece.mark for piece in iter_marked_pieces(export) if piece.mark not in text]
        assert not lost_marks or skipped, f"seed {seed}: {lost_marks}"


def _find_faults_of_folder(name: str, seed: int, folder: Path) -> list[str]:
    """Damage a folder of files; each undamaged post must be a row with its text."""
    export = FOLDERS[name]()
    damaged = damage(export, seed)
    source = write_folder(damaged.bodies, folder / str(seed))
    try:
        inventory = take_inventory([source])
    except TwinError:
        return []
    rows = read_rows(build_inventory_frame(inventory), inventory).to_dicts()
    text = "\n".join(row["text"] for row in rows if not row["problem"] and row["kind"] != "draft")
    rows_with_problems = {row["source_id"] for row in rows if row["problem"]}
    lost_marks = [
        piece.mark
        for member, piece in damaged.undamaged
        if piece.mark not in text and member not in rows_with_problems
    ]
    # A damaged configuration may change the layout, and files outside the layout are counted.
    skipped = sum(inventory.skipped_counts.values())
    faults = (
        [f"{lost_marks} are lost, but {skipped} are counted"] if len(lost_marks) > skipped else []
    )
    if not _is_secret_damaged(export, damaged) and SECRET in text:
        faults.append("a secret is imported")
    return [f"{damaged.description}: {fault}" for fault in faults]


FaultFinder = Callable[[str, int, Path], list[str]]

SOURCES: dict[str, tuple[FaultFinder, int, int]] = {
    **dict.fromkeys(EXPORTS, (find_faults_of_export, 37, 515)),
    **dict.fromkeys(FOLDERS, (_find_faults_of_folder, 12, 300)),
}
"""For each source: its fault finder, and the number of seeds in the short and long form."""


def test_every_importer_has_a_damaged_export() -> None:
    assert {*SOURCES} == {importer.name for importer in IMPORTERS} | {*FOLDERS}


def check_seeds(name: str, seeds: range, folder: Path) -> None:
    find_faults, *_ = SOURCES[name]
    memory_kb = _peak_memory_kb()
    faults = {seed: find_faults(name, seed, folder) for seed in seeds}
    assert {seed: messages for seed, messages in faults.items() if messages} == {}
    assert _peak_memory_kb() - memory_kb < _MAX_GROWTH_KB


@pytest.mark.parametrize("name", SOURCES)
def test_damage_affects_only_damaged_posts(name: str, tmp_path: Path) -> None:
    check_seeds(name, range(SOURCES[name][1]), tmp_path)


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", SOURCES)
def test_damage_affects_only_damaged_posts_of_5000_exports(name: str, tmp_path: Path) -> None:
    check_seeds(name, range(1_000, 1_000 + SOURCES[name][2]), tmp_path)


def test_a_row_merged_with_another_is_malformed(tmp_path: Path) -> None:
    pieces = EXPORTS["linkedin"]()["Shares.csv"]
    index = next(index for index, piece in enumerate(pieces) if SECRET.encode() in piece.body)
    body = b"".join(piece.body for piece in pieces[: index + 1])
    body += b"\0" * 60 + b"".join(piece.body for piece in pieces[index + 1 :])[60:]
    outcome = _read(write_folder({"Shares.csv": body}, tmp_path))
    assert outcome is not None
    assert not any(SECRET in record.text for record in outcome[1])
    assert [skip for skip in outcome[2] if skip.reason == "malformed_row"]


def test_a_list_without_its_header_is_a_failed_read(tmp_path: Path) -> None:
    bodies = join_pieces(EXPORTS["linkedin"]())
    bodies["Shares.csv"] = bodies["Shares.csv"].replace(b"ShareCommentary", b"ShareComentary")
    outcome = _read(write_folder(bodies, tmp_path))
    assert outcome is not None
    assert [skip.location for skip in outcome[2] if skip.reason in FAILED_READS] == ["Shares.csv"]


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
