"""Damaged exports of every importer: no crash, no silent loss, no leak, bounded time and memory.

A platform's export, a folder that a site generator or a person made, a git repository: some bytes
of each are damaged, by a seed. The short form reads 340 of them, the long one 5,000. Of each:
- reading it ends, with records and `Skipped` alone, or with a `TwinError`;
- what is found is kept or has a reason, and each is counted once, whatever was asked for;
- a post of whose bytes none was touched is found with its text, or a `Skipped` names it (its
  identifier), or its whole file (a part that cannot be read at all);
- no draft, message, comment or address enters, unless its own bytes were touched.
"""

from __future__ import annotations

import random
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.corpus.importers.marked_exports import EXPORTS, FOLDERS, SECRET, Export, words
from tests.unit.corpus.importers.mutations import (
    Damaged,
    damage,
    write_folder,
    write_torn_zip,
)
from twin_assets.corpus.exported import ExportReading
from twin_assets.corpus.importers.archive import open_archive
from twin_assets.corpus.importers.members import FAILED_READS, ArchiveLimits
from twin_assets.corpus.importers.recognition import IMPORTERS, find_importer
from twin_assets.corpus.importers.record import ExportRecord, Skipped, exclusion_reason
from twin_assets.corpus.importing import build_inventory_frame, read_rows
from twin_assets.corpus.inventory import take_inventory
from twin_resources.authors import OPT_INS
from twin_resources.errors import TwinError

_MAX_SECONDS = 20.0
"""CPU of one export of at most some 200 KB; the slowest of 5,000 took a hundredth of it."""

_HELD_BACK = re.compile(rb"^(?:published: false|draft = true)$", re.MULTILINE)
_MAX_GROWTH_KB = 300_000
_BOUNDS = ArchiveLimits(member_bytes=8 << 20, read_bytes=64 << 20)


def _kb_so_far() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _miscounted(path: Path, include: frozenset[str]) -> list[str]:
    """Found is kept plus left out, and every record is there under its own name."""
    with open_archive(path, limits=_BOUNDS) as archive:
        importer = find_importer(archive)
        if importer is None:
            return ["read once, and the next time it is no export"]
        outcomes = list(importer.read(archive, include=include))
        reading = ExportReading(importer.name)
        reading.add(outcomes, include=include, archive=archive)
    row_ids = [row_id for row_id, _ in reading.digests()]
    named = {record.row_id for record in reading.records(row_ids).values()}
    claims = {
        "each that is left out has a reason": all(
            outcome.reason for outcome in outcomes if isinstance(outcome, Skipped)
        ),
        "each outcome is found": len(reading) + reading.excluded.total() == len(outcomes),
        "each record is there under its own name": named == set(row_ids),
        "found is kept plus left out": len(row_ids)
        == len(reading)
        == len(outcomes) - reading.excluded.total(),
    }
    return [claim for claim, holds in claims.items() if not holds]


def _read(path: Path) -> tuple[str, list[ExportRecord], list[Skipped]] | None:
    """The importer's name and all that it yields; None: it is refused, which is no silent loss."""
    try:
        with open_archive(path, limits=_BOUNDS) as archive:
            importer = find_importer(archive)
            if importer is None:
                return None
            outcomes = list(importer.read(archive, include=frozenset()))
            skipped = [outcome for outcome in outcomes if isinstance(outcome, Skipped)]
            records = [outcome for outcome in outcomes if isinstance(outcome, ExportRecord)]
            assert len(skipped) + len(records) == len(outcomes)
            skipped += [Skipped("archive", reason) for reason in archive.refused]
    except TwinError:
        return None
    kept: list[ExportRecord] = []
    for record in records:
        reason = exclusion_reason(record, frozenset())
        if reason:
            skipped.append(Skipped(record.source_id, reason))
        else:
            record.to_storable().as_json().encode()
            kept.append(record)
    return importer.name, kept, skipped


def _lost(damaged: Damaged, records: list[ExportRecord], skipped: list[Skipped]) -> list[str]:
    """Untouched posts that are neither found nor named."""
    text = "\n".join(record.text for record in records)
    named = {one.location for one in skipped}
    return [
        piece.mark
        for member, piece in damaged.whole
        if piece.mark not in text
        and member not in named
        and piece.identifier not in named
        and not (len(piece.identifier) > 1 and any(w.endswith(piece.identifier) for w in named))
    ]


def _of_export(name: str, seed: int, folder: Path) -> list[str]:
    export = EXPORTS[name]()
    damaged = damage(export, seed)
    path = write_folder(damaged.bodies, folder / str(seed))
    began = time.process_time()
    found = _read(path)
    wrong = ["it took long"] if time.process_time() - began > _MAX_SECONDS else []
    if found is None:
        return wrong
    wrong += _miscounted(path, OPT_INS if seed % 2 else frozenset())
    shutil.rmtree(path)
    importer, records, skipped = found
    if not _secrets_touched(export, damaged):
        wrong += [
            f"{record.source_id} is secret" for record in records if SECRET in record.as_json()
        ]
    if importer == name:  # else its own marks are damaged: another reader finds what it can
        wrong += [f"{mark} is lost" for mark in _lost(damaged, records, skipped)]
    return [f"{damaged.how}: {one}" for one in wrong]


def _secrets_touched(export: Export, damaged: Damaged) -> bool:
    """Whether what makes a piece secret is not what it was: a draft may have become a post.

    Of a file that is one draft it is the line by which it is one, whatever else is damaged: its
    fence, say.
    """
    return any(
        SECRET.encode() in piece.body
        and (
            not _HELD_BACK.search(body)
            if _HELD_BACK.search(piece.body)
            else body != piece.body
            if len(pieces) == 1
            else piece.body not in body
        )
        for name, pieces in export.items()
        for body in [damaged.bodies[name]]
        for piece in pieces
    )


@pytest.mark.parametrize("name", EXPORTS)
def test_a_damaged_zip_is_refused_or_explained(name: str, tmp_path: Path) -> None:
    export = EXPORTS[name]()
    bodies = {member: b"".join(p.body for p in pieces) for member, pieces in export.items()}
    for seed in range(15):
        found = _read(write_torn_zip(bodies, tmp_path / f"{seed}.zip", seed))
        if found is None or found[0] != name:
            continue
        _, records, skipped = found
        text = "\n".join(record.text for record in records)
        assert SECRET not in text
        lost = [
            piece.mark
            for pieces in export.values()
            for piece in pieces
            if piece.mark and piece.mark not in text
        ]
        # A post is lost with its member, and each member that is lost is a line of the account.
        assert not lost or skipped, f"seed {seed}: {lost}"


def _of_folder(name: str, seed: int, folder: Path) -> list[str]:
    """A folder of files: each post that was not touched is a row with its text."""
    export = FOLDERS[name]()
    damaged = damage(export, seed)
    source = write_folder(damaged.bodies, folder / str(seed))
    try:
        inventory = take_inventory([source])
    except TwinError:
        return []
    rows = read_rows(build_inventory_frame(inventory), inventory).to_dicts()
    # A draft's row says that it is one; cleaning drops it.
    text = "\n".join(row["text"] for row in rows if not row["problem"] and row["kind"] != "draft")
    explained = {row["source_id"] for row in rows if row["problem"]}
    lost = [
        piece.mark
        for member, piece in damaged.whole
        if piece.mark not in text and member not in explained
    ]
    # A damaged configuration may make another layout of it, which counts what it leaves out.
    counted = sum(inventory.skipped.values())
    wrong = [f"{lost} are lost, and {counted} are counted"] if len(lost) > counted else []
    if not _secrets_touched(export, damaged) and SECRET in text:
        wrong.append("a secret")
    return [f"{damaged.how}: {one}" for one in wrong]


def _repository(folder: Path) -> Path:
    """A repository of twenty sources and six documents by its author, and one by somebody else."""

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)

    folder.mkdir()
    git("init", "-q")
    for name, value in (("user.email", "ada@example.org"), ("user.name", "Ada")):
        git("config", name, value)
    sources = {f"src/m{number}.py": b"pass\n" for number in range(20)}
    pages = {f"docs/p{n}.md": f"# Page {n}\n\n{words(f'gitpage{n}x')}\n" for n in range(6)}
    write_folder(sources | {name: text.encode() for name, text in pages.items()}, folder)
    git("add", ".")
    git("commit", "-q", "-m", "All of it")
    write_folder({"docs/other.md": f"# Theirs\n\n{SECRET} words of theirs.\n".encode()}, folder)
    git("add", ".")
    git("commit", "-q", "-m", "More", "--author", "Bob <bob@example.org>")
    return folder


def _of_repository(name: str, seed: int, folder: Path) -> list[str]:
    """Bits turned over in three files of `.git`: refused, or each page found or named."""
    whole, copy = folder / "whole", folder / str(seed)
    if not whole.exists():
        found = _read(_repository(whole))
        if found is None or (found[0], len(found[1])) != (name, 6):
            return ["before any damage it is not read"]
    draw = random.Random(seed)
    shutil.copytree(whole, copy)
    files = sorted(path for path in (copy / ".git").rglob("*") if path.is_file())
    read = [path for path in files if "hooks" not in path.parts]
    for path in draw.sample(read, 3):
        body = bytearray(path.read_bytes())
        if body:
            body[draw.randrange(len(body))] ^= 1 << draw.randrange(8)
            path.chmod(0o644)
            path.write_bytes(body)
    found = _read(copy)
    shutil.rmtree(copy)
    if found is None:
        return []
    importer, records, skipped = found
    text = "\n".join(record.text for record in records)
    named = {one.location for one in skipped}
    pages = {f"docs/p{n}.md": f"gitpage{n}x" for n in range(6)} if importer == name else {}
    lost = [page for page, mark in pages.items() if mark not in text and page not in named]
    return [f"{page} is lost" for page in lost] + (["a secret"] if SECRET in text else [])


Wrong = Callable[[str, int, Path], list[str]]

READ: dict[str, tuple[Wrong, int, int]] = {
    **dict.fromkeys(EXPORTS, (_of_export, 37, 500)),
    **dict.fromkeys(FOLDERS, (_of_folder, 12, 300)),
    "git": (_of_repository, 8, 100),
}
"""What is damaged → what is wrong after reading one, and how many in the short and long form."""


def test_the_long_form_reads_five_thousand_and_every_importer() -> None:
    assert sum(long for *_, long in READ.values()) >= 5_000
    assert {*READ} == {importer.name for importer in IMPORTERS} | {*FOLDERS}


@pytest.mark.parametrize("name", READ)
def test_damage_costs_what_it_touches_and_says_so(name: str, tmp_path: Path) -> None:
    wrong_with, short, _ = READ[name]
    before = _kb_so_far()
    wrong = {seed: wrong_with(name, seed, tmp_path) for seed in range(short)}
    assert {seed: said for seed, said in wrong.items() if said} == {}
    assert _kb_so_far() - before < _MAX_GROWTH_KB


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", READ)
def test_five_thousand_damaged_exports(name: str, tmp_path: Path) -> None:
    wrong_with, _, long = READ[name]
    before = _kb_so_far()
    wrong = {seed: wrong_with(name, seed, tmp_path) for seed in range(1_000, 1_000 + long)}
    assert {seed: said for seed, said in wrong.items() if said} == {}
    assert _kb_so_far() - before < _MAX_GROWTH_KB


def test_a_row_that_swallowed_another_is_no_post(tmp_path: Path) -> None:
    """Found by damage: a post for friends ran on into a public one and was taken for it."""
    pieces = EXPORTS["linkedin"]()["Shares.csv"]
    private = next(at for at, piece in enumerate(pieces) if SECRET.encode() in piece.body)
    body = b"".join(piece.body for piece in pieces[: private + 1])
    body += b"\0" * 60 + b"".join(piece.body for piece in pieces[private + 1 :])[60:]
    found = _read(write_folder({"Shares.csv": body}, tmp_path))
    assert found is not None
    assert not any(SECRET in record.text for record in found[1])
    assert [one for one in found[2] if one.reason == "malformed_row"]


def test_a_list_without_its_head_is_a_failed_read(tmp_path: Path) -> None:
    """Found by damage: without its columns every row was gone, and so every post was deleted."""
    bodies = {
        member: b"".join(piece.body for piece in pieces)
        for member, pieces in EXPORTS["linkedin"]().items()
    }
    bodies["Shares.csv"] = bodies["Shares.csv"].replace(b"ShareCommentary", b"ShareComentary")
    found = _read(write_folder(bodies, tmp_path))
    assert found is not None
    assert [one.location for one in found[2] if one.reason in FAILED_READS] == ["Shares.csv"]
