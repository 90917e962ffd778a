"""Damage an export reproducibly, and record which posts stay undamaged.

Scope: incomplete downloads, faulty disks, editors, hostile files.
Out of scope: what an importer must still find (`test_damaged_exports`).
"""

from __future__ import annotations

import random
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.unit.corpus.importers.marked_exports import Export, Piece, join_pieces

_INSERTIONS = (
    b'"', b"{", b"}", b"[", b"]", b"]}", b",", b"\\", b"<", b">", b"&", b"<item>", b"</item>",
    b"</channel></rss>", b"<![CDATA[", b"]]>", b"<!--", b"-->", b"\n", b"\r\n", b'""\n"', b"\0",
    b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\x08", b"&#8;", b"&nbsp;", b"&bomb;",
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>&b;',
    b"[" * 5_000, b"{\"a\":" * 5_000, b"<div>" * 5_000, b"9" * 6_000, b"A" * 100_000,
    b"urn:li:share:" + b"9" * 60, b"2023-13-45 99:99:99", b"&#0;", b"<div class='paywall-jump'>",
    b'"\\ud83d"', b"null", b"true", b"false", b"<script>", b"</section>", b"</article>", b"\x1a",
)  # fmt: skip
_DAMAGES = ("truncate", "delete", "flip", "noise", "insert", "insert", "repeat", "zeros", "reverse")


@dataclass(frozen=True)
class DamagedExport:
    """A damaged export.

    Attributes:
        bodies: the bytes of each member.
        undamaged: each undamaged piece with a mark, after the name of its member.
        description: the damage, for the message of a failing test.
    """

    bodies: dict[str, bytes]
    undamaged: tuple[tuple[str, Piece], ...]
    description: str


def damage(export: Export, seed: int) -> DamagedExport:
    """Damage an export in one to three places that `seed` determines."""
    rng = random.Random(seed)
    bodies = join_pieces(export)
    descriptions: list[str] = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        name = rng.choice([name for name in sorted(bodies) if len(bodies[name]) > 1])
        body, damage_type = bodies[name], rng.choice(_DAMAGES)
        start = rng.randrange(len(body))
        end = len(body) if damage_type == "truncate" else start + rng.choice((1, 1, 2, 8, 60, 400))
        replacement = _mutate(body[start:end], damage_type, rng)
        bodies[name] = (
            body[:start] + replacement + body[start if damage_type == "insert" else end :]
        )
        descriptions.append(f"{damage_type} {name}[{start}:{end}]")
    undamaged = tuple(
        (name, piece)
        for name, pieces in export.items()
        for piece in pieces
        if piece.mark and piece.body in bodies[name]
    )
    return DamagedExport(bodies, undamaged, f"seed {seed}: {'; '.join(descriptions)}")


def _mutate(body: bytes, damage_type: str, rng: random.Random) -> bytes:
    match damage_type:
        case "truncate" | "delete":
            return b""
        case "flip":
            return bytes(byte ^ (1 << rng.randrange(8)) for byte in body)
        case "noise":
            return rng.randbytes(len(body))
        case "insert":
            return rng.choice(_INSERTIONS)
        case "repeat":
            return body * rng.choice((2, 3, 50))
        case "zeros":
            return b"\0" * len(body)
        case _:
            return body[::-1]


def write_damaged_zip(bodies: dict[str, bytes], path: Path, seed: int) -> Path:
    """Write the members to a zip, and damage some of its bytes, possibly in its directory."""
    rng = random.Random(seed)
    compression = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, body in bodies.items():
            archive.writestr(zipfile.ZipInfo(name), body, compression)
    zip_bytes = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 2, 5))):
        position = rng.randrange(len(zip_bytes))
        zip_bytes[position : position + rng.choice((1, 1, 4, 40))] = rng.randbytes(
            rng.choice((0, 1, 4))
        )
    if rng.random() < 0.2:
        del zip_bytes[rng.randrange(len(zip_bytes)) :]
    path.write_bytes(zip_bytes)
    return path
