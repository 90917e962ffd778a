"""Damage to an export: seeded, and with the bytes that it touched.

Scope: what happens to exports (torn downloads, bad disks, editors, hostile files).
Out of scope: what an importer must still find (`test_damaged_exports`).
"""

from __future__ import annotations

import random
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.unit.corpus.importers.marked_exports import Export, Piece

_INSERTED = (
    b'"', b"{", b"}", b"[", b"]", b"]}", b",", b"\\", b"<", b">", b"&", b"<item>", b"</item>",
    b"</channel></rss>", b"<![CDATA[", b"]]>", b"<!--", b"-->", b"\n", b"\r\n", b'""\n"', b"\0",
    b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\x08", b"&#8;", b"&nbsp;", b"&bomb;",
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>&b;',
    b"[" * 5_000, b"{\"a\":" * 5_000, b"<div>" * 5_000, b"9" * 6_000, b"A" * 100_000,
    b"urn:li:share:" + b"9" * 60, b"2023-13-45 99:99:99", b"&#0;", b"<div class='paywall-jump'>",
    b'"\\ud83d"', b"null", b"true", b"false", b"<script>", b"</section>", b"</article>", b"\x1a",
)  # fmt: skip


@dataclass(frozen=True)
class Damaged:
    """A damaged export.

    Attributes:
        bodies: member → bytes.
        whole: the pieces with a mark of which no byte was touched, with their member.
        how: for the message of a failing test.
    """

    bodies: dict[str, bytes]
    whole: tuple[tuple[str, Piece], ...]
    how: str


def damage(export: Export, seed: int) -> Damaged:
    """One to three injuries to the members of an export, drawn by `seed`."""
    draw = random.Random(seed)
    bodies = {name: b"".join(piece.body for piece in pieces) for name, pieces in export.items()}
    touched: dict[str, list[tuple[int, int]]] = {name: [] for name in export}
    how: list[str] = []
    # From the end on, so that the positions of what follows in the list stay what they are.
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        name = draw.choice(sorted(bodies))
        body = bodies[name]
        limit = min((start for start, _ in touched[name]), default=len(body))
        if limit < 2:
            continue
        start = draw.randrange(limit)
        end = min(limit, start + draw.choice((1, 1, 2, 8, 60, 400)))
        kind = draw.choice(_KINDS)
        inside = body[start:end]
        if kind == "truncate":
            inside, end = b"", len(body)
        elif kind == "delete":
            inside = b""
        elif kind == "flip":
            inside = bytes(byte ^ (1 << draw.randrange(8)) for byte in inside)
        elif kind == "noise":
            inside = draw.randbytes(len(inside))
        elif kind == "insert":
            inside, end = draw.choice(_INSERTED), start
        elif kind == "repeat":
            inside = inside * draw.choice((2, 3, 50))
        elif kind == "zeros":
            inside = b"\0" * len(inside)
        elif kind == "reverse":
            inside = inside[::-1]
        bodies[name] = body[:start] + inside + body[end:]
        touched[name].append((start, end))
        how.append(f"{kind} {name}[{start}:{end}]")
    return Damaged(bodies, tuple(_whole(export, touched)), f"seed {seed}: " + "; ".join(how))


_KINDS = ("truncate", "delete", "flip", "noise", "insert", "insert", "repeat", "zeros", "reverse")


def _whole(export: Export, touched: dict[str, list[tuple[int, int]]]) -> list[tuple[str, Piece]]:
    found: list[tuple[str, Piece]] = []
    for name, pieces in export.items():
        at = 0
        for piece in pieces:
            begin, at = at, at + len(piece.body)
            # An insertion (start == end) touches a piece from within, not at its edge.
            hit = any(
                start < at and end > begin if end > start else begin < start < at
                for start, end in touched[name]
            )
            if piece.mark and not hit:
                found.append((name, piece))
    return found


def write_folder(bodies: dict[str, bytes], folder: Path) -> Path:
    for name, body in bodies.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return folder


def write_torn_zip(bodies: dict[str, bytes], path: Path, seed: int) -> Path:
    """The members in a zip of which some bytes, its directory's included, are damaged."""
    draw = random.Random(seed)
    packing = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, body in bodies.items():
            archive.writestr(zipfile.ZipInfo(name), body, packing)
    packed = bytearray(path.read_bytes())
    for _ in range(draw.choice((1, 2, 5))):
        at = draw.randrange(len(packed))
        packed[at : at + draw.choice((1, 1, 4, 40))] = draw.randbytes(draw.choice((0, 1, 4)))
    if draw.random() < 0.2:
        del packed[draw.randrange(len(packed)) :]
    path.write_bytes(packed)
    return path
