"""Exports with bytes changed at random: no crash, nothing lost without a reason, bounded time.

`TWIN_MUTANTS` sets how many of each; every one can be made again from its seed.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.unit.corpus.exports_by_hand import EXPORTS, MALFORMED, Files, as_zip
from twin_assets.corpus.exported import Reading
from twin_assets.corpus.importers import linkedin, medium, substack
from twin_assets.corpus.importers.archive import open_archive
from twin_assets.corpus.importers.record import OPT_INS, Record, Skipped

MUTANTS = int(os.environ.get("TWIN_MUTANTS", "40"))
IMPORTERS = {"linkedin": linkedin, "medium": medium, "substack": substack}
READ = {
    "linkedin": (".csv", ".html"),
    "medium": (".html",),
    "substack": ("posts.csv", ".html"),
}
TOKENS = (
    *(b'"', b'""', b"\n", b"\r\n", b",", b"\0", b"\xff\xfe", b"\xed\xa0\xbd", b"&#0;", b"<", b">"),
    *(b"]]>", b"<!--", b"</html>", b"<body>", b"urn:li:share:" + b"9" * 60, b"9" * 400),
    *(b"2023-13-45 99:99:99", b"true", b"false", b"<div class='paywall-jump'>", b'\xef\xbb\xbf"'),
)


def mutated(body: bytes, draw: random.Random) -> bytes:
    """One to five changes: a token put in, bytes taken out, turned over, doubled or cut off."""
    made = bytearray(body)
    for _ in range(draw.randint(1, 5)):
        at, length = draw.randrange(len(made) + 1), draw.randint(1, 200)
        kind = draw.randrange(5)
        if kind == 0:
            made[at:at] = draw.choice(TOKENS)
        elif kind == 1:
            del made[at : at + length]
        elif kind == 2 and at < len(made):
            made[at] = draw.randrange(256)
        elif kind == 3:
            made[at:at] = made[at : at + length]
        else:
            del made[max(at, len(made) // 3) :]
    return bytes(made)


def mutant(name: str, seed: int) -> Files:
    draw = random.Random(f"{name} {seed}")
    files = dict(draw.choice((EXPORTS, MALFORMED))[name])
    read = [one for one in sorted(files) if one.endswith(READ[name])]
    for one in draw.sample(read, k=draw.randint(1, min(3, len(read)))):
        body = files[one]
        files[one] = mutated(body.encode() if isinstance(body, str) else body, draw)
    return files


@pytest.mark.parametrize("name", IMPORTERS)
def test_mutants_are_read_to_the_end(name: str, tmp_path: Path) -> None:
    for seed in range(MUTANTS):
        files = mutant(name, seed)
        path = as_zip(files, tmp_path / "export.zip")
        started = time.process_time()
        with open_archive(path) as archive:
            found = list(IMPORTERS[name].read(archive, include=OPT_INS))
            reading = Reading(name)
            reading.add(found, include=OPT_INS, archive=archive)
        assert time.process_time() - started < 5, seed
        assert all(isinstance(one, Record | Skipped) for one in found), seed
        assert all(one.reason for one in found if isinstance(one, Skipped)), seed
        # Each page is a record or has a reason, whatever was done to it or to the list of them.
        pages = [one for one in files if one.endswith(".html") and one.startswith(("posts", "Art"))]
        assert reading.found == len(found) >= len(pages), seed
        for row_id, _ in reading.digests():
            assert reading.records([row_id])[row_id].row_id == row_id, seed


def test_the_same_seed_makes_the_same_mutant() -> None:
    assert mutant("linkedin", 7) == mutant("linkedin", 7)
    assert mutant("linkedin", 7) != mutant("linkedin", 8)


def test_memory_does_not_grow_with_an_export(tmp_path: Path) -> None:
    """Ten times the pages: the same peak, within a fifth (of pages long enough to matter)."""
    import tracemalloc

    from tests.unit.corpus.exports_by_hand import SENTENCE, medium_page

    body = f'<p class="graf graf--p">{SENTENCE * 1500}</p>'
    peaks: list[int] = []
    for count in (5, 50):
        pages: Files = {
            f"posts/2020-01-02_Page-{n:012x}.html": medium_page(
                body, title=f"Page {n}", published="2020-01-02T00:00:00Z"
            )
            for n in range(count)
        }
        path = as_zip(pages, tmp_path / f"{count}.zip")
        del pages
        tracemalloc.start()
        with open_archive(path) as archive:
            reading = Reading("medium")
            reading.add(medium.read(archive, include=OPT_INS), include=OPT_INS, archive=archive)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(reading) == count
    assert peaks[1] < 1.2 * peaks[0]
