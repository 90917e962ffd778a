"""SIGKILL at every stage boundary and in the middle of Lance's writes: the next run ends the same.

A run of the corpus chain is a process of its own, watched from outside: by the files that appear
in its tables. When the one appears that a try waits for, the process dies after 0 to 20 ms. One
more run then leaves in every table what an undisturbed run leaves, and the run after it computes
nothing.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import fresh_home
from tests.graph.corpus.conftest import SLUG, paragraph
from tests.graph.corpus.corpus_process import run_chain
from tests.prepared_embedder import lend_weights
from twin_resources.authors import Author, write_author
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables

SEED = 20_261_120
MAX_S = 600.0
TABLES = ("raw_posts", "prepared_posts", "cleaned_documents", "document_chunks", "embeddings")
"""In the order of the chain; the first file of one is the boundary between it and the one before.
Every other table that is written between them is compared as well."""

SIGNS = ("", "data", "_transactions", "_versions")
"""Folders of a Lance table in which a write shows, in the order in which it does: its rows, what
it is going to do, the version that makes it so. "": any file, the boundary."""


@dataclass(frozen=True)
class Kill:
    """When a process dies: `after_s` after a new file lies under `sign` of `table`."""

    start: str
    table: str
    sign: str
    after_s: float


def draw_kills(tries: int) -> list[Kill]:
    """Each table in turn, each sign in turn, into an empty home and into one with older posts."""
    draw = random.Random(SEED)
    return [
        Kill(
            start=("empty", "imported")[(number + number // len(SIGNS)) % 2],
            table=TABLES[3 * number % len(TABLES)],  # the last one is among the first four tries
            sign=SIGNS[number % len(SIGNS)],
            after_s=0.0 if number % 4 == 0 else draw.uniform(0, 0.02),
        )
        for number in range(tries)
    ]


@dataclass(frozen=True)
class Content:
    """What stands in a home: table → (data version, rows as Lance counts them, hash of rows)."""

    tables: dict[str, tuple[str | None, int, str]]

    @classmethod
    def of(cls, home: Settings) -> Content:
        import lance

        state = State.open(home.state_address)
        tables = Tables(home.tables_base, state=state)
        contents: dict[str, tuple[str | None, int, str]] = {}
        for path in sorted(Path(home.tables_base, SLUG).glob("*.lance")):
            rows = sorted(map(repr, tables.read(path.stem, SLUG).rows()))
            digest = hashlib.sha256("\n".join(rows).encode()).hexdigest()
            row_count = lance.dataset(str(path)).count_rows()
            contents[path.stem] = (tables.data_version(path.stem, SLUG), row_count, digest)
        state.close()
        return cls(contents)

    def differs_from(self, other: Content) -> list[str]:
        """Tables that are not the same in both."""
        names = sorted({*self.tables, *other.tables})
        return [name for name in names if self.tables.get(name) != other.tables.get(name)]


class Trial:
    """One home at one place, set back to how it was for every try."""

    def __init__(self, home: Settings, posts: Path) -> None:
        self.home, self.posts = home, posts
        self.kept = home.home.parent
        self.processes = multiprocessing.get_context("forkserver")
        self.processes.set_forkserver_preload(["tests.graph.corpus.corpus_process"])
        self.ran = 0

    def keep(self, name: str) -> None:
        shutil.copytree(self.home.home, self.kept / name, symlinks=True)

    def set_back(self, name: str) -> None:
        shutil.rmtree(self.home.home)
        shutil.copytree(self.kept / name, self.home.home, symlinks=True)

    def started(self, times: int) -> tuple[Any, Path]:
        self.ran += 1
        report = self.kept / f"report-{self.ran}.json"
        arguments = (self.home.home, report, times)
        process = self.processes.Process(target=run_chain, args=arguments)
        process.start()
        return process, report

    def run(self, times: int) -> dict[str, Any]:
        process, report = self.started(times)
        process.join(MAX_S)
        assert process.exitcode == 0
        return json.loads(report.read_text())

    def killed(self, kill: Kill) -> bool:
        """Whether the process died of it; False: it was done before."""
        watched = Path(self.home.tables_base, SLUG, f"{kill.table}.lance", kill.sign)
        before = set(_names(watched))
        process, _ = self.started(1)
        deadline = time.monotonic() + MAX_S
        while process.is_alive() and set(_names(watched)) <= before:
            assert time.monotonic() < deadline, f"{kill}: nothing was written"
            time.sleep(0.002)
        time.sleep(kill.after_s)
        process.kill()
        process.join()
        assert process.exitcode in {0, -signal.SIGKILL}
        return process.exitcode == -signal.SIGKILL


def _names(folder: Path) -> Iterator[str]:
    """Files in a folder of a table, or in all of them; a file may go while it is looked at."""
    try:
        entries = list(folder.iterdir())
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir():
            yield from _names(entry)
        else:
            yield str(entry)


def write_posts(folder: Path, subjects: dict[str, str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "_posts").mkdir(parents=True)
    for number, (name, subject) in enumerate(subjects.items()):
        text = f"---\ntitle: On the {subject}\n---\n\n{paragraph(subject)}\n\n{paragraph(name)}\n"
        (folder / "_posts" / f"{2010 + number}-05-01-{name}.md").write_text(text)


OLDER = {"clock": "clock", "boat": "old boat", "lamp": "lamp", "kite": "kite"}
NEWER = {"clock": "clock", "boat": "new boat", "lamp": "lamp", "kite": "kite", "copy": "lamp"}


@pytest.fixture(scope="module")
def trial(embedder_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """A home without posts (`empty`) and one with older ones (`imported`); the posts are newer."""
    folder = tmp_path_factory.mktemp("trial")
    posts = folder / "posts"
    with pytest.MonkeyPatch.context() as monkeypatch:
        home = lend_weights(embedder_weights, fresh_home(folder / "home", monkeypatch))
        write_author(home, Author(SLUG, "Ada", sources=(str(posts),), language="en"))
        trial = Trial(home, posts)
        trial.keep("empty")
        write_posts(posts, OLDER)
        trial.run(1)
        trial.keep("imported")
        write_posts(posts, {name: text for name, text in NEWER.items() if name != "kite"})
        yield trial


@dataclass(frozen=True)
class Recovered:
    """What two runs after a kill left, beside what an undisturbed one leaves.

    Attributes:
        died: whether the process died of the kill; else it was done before.
        differs: tables that are not as they should be, and what else is not.
    """

    kill: Kill
    died: bool
    differs: list[str]


def _undisturbed(trial: Trial, start: str) -> tuple[Content, list[str]]:
    trial.set_back(start)
    report = trial.run(1)
    content = Content.of(trial.home)
    assert {*TABLES} <= content.tables.keys()
    assert all(report["computed"][0].values()), "the run has work to be killed in"
    assert report["found"]
    return content, report["found"]


def _killed_and_run_again(trial: Trial, tries: int) -> Iterator[Recovered]:
    should_be = {start: _undisturbed(trial, start) for start in ("empty", "imported")}
    for kill in draw_kills(tries):
        trial.set_back(kill.start)
        died = trial.killed(kill)
        report = trial.run(2)
        content, chunk_ids = should_be[kill.start]
        differs = Content.of(trial.home).differs_from(content)
        differs += ["what is found by a question"] if report["found"] != chunk_ids else []
        recomputed = [name for name, rows in report["computed"][1].items() if rows]
        differs += [f"{name} is computed again" for name in recomputed]
        yield Recovered(kill, died, differs)


@pytest.mark.drawn(2, of="kills in the graph")
@pytest.mark.timeout(1_200)
def test_four_kills_do_not_change_the_result(trial: Trial) -> None:
    recovered = list(_killed_and_run_again(trial, 4))
    assert [result for result in recovered if result.differs] == []
    # On a busy machine one may be done before its end is seen.
    assert sum(result.died for result in recovered) >= 3


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_twenty_kills_do_not_change_the_result(trial: Trial) -> None:
    recovered = list(_killed_and_run_again(trial, 20))
    assert [result for result in recovered if result.differs] == []
    assert sum(result.died for result in recovered) >= 15
