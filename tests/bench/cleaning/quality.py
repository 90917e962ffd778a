"""Speed and quality of cleaning HTML, beside the Handbook's steps.

Belongs here: rows of the benchmark. Does not belong here: pages (`pages`), the peer (`handbook`).
"""

from __future__ import annotations

import os
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench.cleaning import handbook
from tests.bench.cleaning.pages import Labelled, fragments, pages
from tests.bench.cleaning.rows import Form, Row, at_least
from twin_assets.corpus.html_cleaning import clean_html

_WORD = re.compile(r"\w+")
_MARK = re.compile(r"[^\w\s]")


def shared_posts() -> Path:
    """The folder of shared posts, as the tests find it."""
    root = Path(__file__).resolve().parents[3]
    return Path(os.environ.get("TWIN_SHARED_DATA", root.parent / "shared" / "data")) / "posts"


def quality(form: Form) -> list[Row]:
    """Fragments (a platform's export) and whole pages: speed, F1 of words, characters kept."""
    posts = fragments(shared_posts() / "skeeto")
    rows: list[Row] = []
    for name, labelled in (("HTML posts", posts), ("pages of platforms", pages(posts))):
        rows += _compared(name, labelled[:20] if form.quick else labelled, form)
    return rows


def _compared(name: str, labelled: Sequence[Labelled], form: Form) -> list[Row]:
    sources = [one.html for one in labelled]
    size = sum(len(html.encode()) for html in sources) / 1e6
    cleaned = [clean_html(html) for html in sources]
    theirs = [handbook.clean(html) for html in sources]
    ours_s, theirs_s = _interleaved(clean_html, handbook.clean, sources, 3 if form.quick else 7)
    gold = [one.post for one in labelled]
    shape = f"{len(labelled)} {name}, {size:.1f} MB"
    return [
        at_least(
            f"{shape}: MB per CPU second",
            size / ours_s,
            "MB/CPU s",
            goal=size / theirs_s,
            peers={"handbook": size / theirs_s},
        ),
        at_least(
            f"{name}: F1 of words",
            _f1(cleaned, gold),
            "",
            goal=0.95,
            peers={"handbook": _f1(theirs, gold)},
        ),
        at_least(
            f"{name}: characters kept that are no letters",
            _marks_kept(cleaned, gold),
            "",
            goal=0.95,
            peers={"handbook": _marks_kept(theirs, gold)},
        ),
    ]


def _interleaved(
    ours: Callable[[str], str], theirs: Callable[[str], str], sources: Sequence[str], rounds: int
) -> tuple[float, float]:
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for times, clean in zip(spent, (ours, theirs), strict=True):
            times.append(_spent(lambda clean=clean: [clean(html) for html in sources]))
    return statistics.median(spent[0]), statistics.median(spent[1])


def _spent(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _f1(found: Sequence[str], gold: Sequence[str]) -> float:
    """Mean over pages of the F1 of the words as a bag."""
    values: list[float] = []
    for text, truth in zip(found, gold, strict=True):
        has, wanted = (Counter(_WORD.findall(one.lower())) for one in (text, truth))
        shared = (has & wanted).total()
        values.append(2 * shared / (has.total() + wanted.total()))
    return statistics.mean(values)


def _marks_kept(found: Sequence[str], gold: Sequence[str]) -> float:
    """Share of the posts' characters that are neither letters, digits nor spaces."""
    kept = wanted = 0
    for text, truth in zip(found, gold, strict=True):
        marks = Counter(_MARK.findall(truth))
        wanted += marks.total()
        kept += (marks & Counter(_MARK.findall(text))).total()
    return kept / wanted
