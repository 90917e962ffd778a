"""Sources that the tests know, whole and damaged, and who is said to read or refuse each.

Scope: making the sources, one verdict as text, the file. Out of scope: tests
(`test_recognition`).

`python -m tests.unit.corpus.importers.recorded_verdicts` records again: for a change that is meant,
whose difference is read before it is committed.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.unit.corpus import exports_by_hand, test_exports
from tests.unit.corpus.importers import marked_exports
from tests.unit.corpus.importers.mutations import damage, write_folder, write_torn_zip
from twin_assets.corpus.importers.archive import open_archive
from twin_assets.corpus.importers.recognition import find_importer, reject_unsupported_exports
from twin_resources.errors import TwinError

RECORDED = Path(__file__).with_name("recorded_verdicts.json")

Bodies = dict[str, bytes]

_PACKINGS: dict[str, Callable[[exports_by_hand.Files, Path], Path]] = {
    "folder": exports_by_hand.as_folder,
    "zip": exports_by_hand.as_zip,
    "tar": exports_by_hand.as_tar,
}
_SINGLE: Bodies = {
    "a PDF": b"%PDF-1.7\nrest",
    "a database": b"SQLite format 3\0rest",
    "a 7z": b"7z\xbc\xaf\x27\x1crest",
    "a rar": b"Rar!\x1a\x07rest",
    "a post": b"# A post\n\nWith words.\n",
    "a post that quotes": b'<rss version="2.0"></rss>\n',
    "nothing": b"",
    "an old tar": b"\0" * 10_240,
}


def _bytes_of(files: exports_by_hand.Files) -> Bodies:
    return {name: one.encode() if isinstance(one, str) else one for name, one in files.items()}


def _whole() -> dict[str, Bodies]:
    """Every small export of the tests, by a name."""
    known = {
        **{f"platform {name}": dict(files) for name, files in test_exports.EXPORTS.items()},
        **{f"whole {name}": files for name, files in exports_by_hand.EXPORTS.items()},
        **{f"malformed {name}": files for name, files in exports_by_hand.MALFORMED.items()},
    }
    marked = {**marked_exports.EXPORTS, **marked_exports.FOLDERS}
    return {
        **{name: _bytes_of({**files}) for name, files in known.items()},
        **{
            f"marked {name}": {
                member: b"".join(piece.body for piece in pieces)
                for member, pieces in build().items()
            }
            for name, build in marked.items()
        },
        "plain pages": {"posts/a.html": b"<p>Text</p>", "b.html": b"<h1>B</h1>"},
        "plain posts": {"posts/a.md": b"# A\n\nText\n", "README.md": b"# About\n"},
        "about alone": {"README.md": b"# About\n", "feed.xml": b"<rss version='2.0'></rss>"},
        "pictures": {"a.png": b"\x89PNG", "b/c.jpg": b"\xff\xd8"},
    }


def _in_part(bodies: Bodies, seed: int) -> Bodies:
    """Some members, of which some have lost their beginning: what their reader knows them by."""
    draw = random.Random(seed)
    chosen = draw.sample(sorted(bodies), draw.randint(1, len(bodies)))
    return {
        name: bodies[name][draw.randrange(len(bodies[name]) // 2 + 1) :]
        if draw.random() < 0.5
        else bodies[name]
        for name in chosen
    }


def sources(folder: Path) -> Iterator[tuple[str, Path]]:
    """A name and a path each, written below `folder` as they are asked for."""
    for name, body in _SINGLE.items():
        yield name, write_folder({"single": body}, folder / name) / "single"
    yield "a quote", write_folder({"q.md": _SINGLE["a post that quotes"]}, folder / "q") / "q.md"
    for name, bodies in _whole().items():
        packed = {packing: folder / packing / name for packing in _PACKINGS}
        for path in packed.values():
            path.mkdir(parents=True)
        yield f"{name}, folder", write_folder(bodies, packed["folder"])
        yield f"{name}, zip", exports_by_hand.as_zip({**bodies}, packed["zip"] / "a.bin")
        yield f"{name}, tar", exports_by_hand.as_tar({**bodies}, packed["tar"] / "a.bin")
        beside = folder / "beside" / name
        beside.mkdir(parents=True)
        exports_by_hand.as_zip({**bodies}, beside / "a.zip")
        yield f"{name}, zip in a folder", beside
        for member, body in bodies.items():
            at = folder / "alone" / name / member
            yield f"{name}, {member} alone", write_folder({"file": body}, at) / "file"
        for seed in range(12):
            at = folder / "part" / name / str(seed)
            part = _in_part(bodies, seed)
            yield f"{name}, in part {seed}, folder", write_folder(part, at)
            packed_part = folder / f"{name} {seed}.bin"
            yield f"{name}, in part {seed}, zip", exports_by_hand.as_zip({**part}, packed_part)
    for name, build in {**marked_exports.EXPORTS, **marked_exports.FOLDERS}.items():
        for seed in range(16):
            at = folder / "damaged" / name / str(seed)
            bodies = damage(build(), seed).bodies
            yield f"{name}, damaged {seed}", write_folder(bodies, at)
            yield (
                f"{name}, torn {seed}",
                write_torn_zip(bodies, folder / f"{name} {seed}.zip", seed),
            )


def verdict(path: Path) -> str:
    """The importer that reads a source, and what is said where none finds a post in it."""
    try:
        archive = open_archive(path)
    except TwinError:
        return "cannot be opened"
    with archive:
        importer = find_importer(archive)
        reader = importer.name if importer is not None else "nobody"
        try:
            reject_unsupported_exports(archive)
        except TwinError as error:
            return f"{reader}; {error.found}; {error.next_step}"
    return f"{reader}; no objection"


def verdicts() -> dict[str, str]:
    """Source → verdict, as the code says now."""
    with tempfile.TemporaryDirectory() as folder:
        return {name: verdict(path) for name, path in sources(Path(folder))}


def recorded() -> dict[str, str]:
    """Source → verdict, as it was recorded."""
    found: dict[str, list[str]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return {source: said for said, names in found.items() for source in names}


def record() -> None:
    """Write what the code says now, the sources by their verdict."""
    found: dict[str, list[str]] = {}
    for name, said in verdicts().items():
        found.setdefault(said, []).append(name)
    RECORDED.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record()
