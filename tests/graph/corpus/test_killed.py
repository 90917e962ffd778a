"""Test that SIGKILL at a stage boundary or during a write does not change the result.

The corpus chain runs in its own process. The test watches the files of its tables, and kills the
process 0 to 20 ms after a certain file appears. The next run must leave the same tables as an
undisturbed run, and the run after it must compute nothing.
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
from tests.graph.corpus.conftest import SLUG, narrate
from tests.graph.corpus.corpus_process import run_chain
from tests.prepared_embedder import link_weights
from twin_resources.authors import Author, write_author
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

SEED = 20_261_120
TIMEOUT_S = 600.0
TABLES = ("raw_posts", "cleaned_documents", "embeddings")
"""Tables in the order of the chain. The first file of a table marks a stage boundary. Other tables
are compared too."""

WATCHED_FOLDERS = ("", "data", "_transactions", "_versions")
"""Folders of a Lance table in the order of a write: rows, transaction, version; "" is any file."""


@dataclass(frozen=True)
class Kill:
    """A kill `after_s` after a new file appears in the folder `folder` of `table`."""

    start: str
    table: str
    folder: str
    after_s: float


def draw_kills(kill_count: int) -> list[Kill]:
    """Draw kills over all tables and folders, in an empty home and one with older posts."""
    generator = random.Random(SEED)
    return [
        Kill(
            start=("empty", "imported")[(number + number // len(WATCHED_FOLDERS)) % 2],
            table=TABLES[3 * number % len(TABLES)],  # Four kills include the last table.
            folder=WATCHED_FOLDERS[number % len(WATCHED_FOLDERS)],
            after_s=0.0 if number % 4 == 0 else generator.uniform(0, 0.02),
        )
        for number in range(kill_count)
    ]


@dataclass(frozen=True)
class HomeContent:
    """The content of a home: table → (data version, row count of Lance, hash of the rows)."""

    tables: dict[str, tuple[str | None, int, str]]

    @classmethod
    def read(cls, home: Settings) -> HomeContent:
        import lance

        state = open_home_state(home)
        tables = Tables(home.tables_base, state=state)
        contents: dict[str, tuple[str | None, int, str]] = {}
        for path in sorted(Path(home.tables_base, SLUG).glob("*.lance")):
            rows = sorted(map(repr, tables.read(path.stem, SLUG).rows()))
            digest = hashlib.sha256("\n".join(rows).encode()).hexdigest()
            row_count = lance.dataset(str(path)).count_rows()
            contents[path.stem] = (tables.data_version(path.stem, SLUG), row_count, digest)
        state.close()
        return cls(contents)

    def list_differing_tables(self, other: HomeContent) -> list[str]:
        """Return the tables that differ."""
        names = sorted({*self.tables, *other.tables})
        return [name for name in names if self.tables.get(name) != other.tables.get(name)]


class KillExperiment:
    """A home that is restored to a saved state before every kill."""

    def __init__(self, home: Settings, posts: Path) -> None:
        self.home, self.posts = home, posts
        self.copies = home.home.parent
        self.processes = multiprocessing.get_context("forkserver")
        self.processes.set_forkserver_preload(["tests.graph.corpus.corpus_process"])
        self.run_count = 0

    def save(self, name: str) -> None:
        shutil.copytree(self.home.home, self.copies / name, symlinks=True)

    def restore(self, name: str) -> None:
        shutil.rmtree(self.home.home)
        shutil.copytree(self.copies / name, self.home.home, symlinks=True)

    def start(self, run_count: int) -> tuple[Any, Path]:
        self.run_count += 1
        report = self.copies / f"report-{self.run_count}.json"
        arguments = (self.home.home, report, run_count)
        process = self.processes.Process(target=run_chain, args=arguments)
        process.start()
        return process, report

    def run(self, run_count: int) -> dict[str, Any]:
        process, report = self.start(run_count)
        process.join(TIMEOUT_S)
        assert process.exitcode == 0
        return json.loads(report.read_text())

    def kill_run(self, kill: Kill) -> bool:
        """Start a run and kill it; return whether the kill came before the run finished."""
        watched_folder = Path(self.home.tables_base, SLUG, f"{kill.table}.lance", kill.folder)
        existing_files = set(_list_files(watched_folder))
        process, _ = self.start(1)
        deadline = time.monotonic() + TIMEOUT_S
        while process.is_alive() and set(_list_files(watched_folder)) <= existing_files:
            assert time.monotonic() < deadline, f"{kill}: nothing was written"
            time.sleep(0.002)
        time.sleep(kill.after_s)
        process.kill()
        process.join()
        assert process.exitcode in {0, -signal.SIGKILL}
        return process.exitcode == -signal.SIGKILL


def _list_files(folder: Path) -> Iterator[str]:
    """Yield the files in a folder of a table and below; files may disappear during the walk."""
    try:
        entries = list(folder.iterdir())
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir():
            yield from _list_files(entry)
        else:
            yield str(entry)


def write_posts(folder: Path, subjects: dict[str, str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "_posts").mkdir(parents=True)
    for number, (name, subject) in enumerate(subjects.items()):
        text = f"{narrate(subject)}\n\n{narrate(name)}\n"
        text = f"---\ntitle: On the {subject}\n---\n\n{text}"
        (folder / "_posts" / f"{2010 + number}-05-01-{name}.md").write_text(text)


OLDER_POSTS = {"clock": "clock", "boat": "old boat", "lamp": "lamp", "kite": "kite"}
NEWER_POSTS = {"clock": "clock", "boat": "new boat", "lamp": "lamp", "kite": "kite", "copy": "lamp"}


@pytest.fixture(scope="module")
def experiment(
    embedder_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KillExperiment]:
    """Yield an experiment with two saved homes: `empty` and, with older posts, `imported`."""
    folder = tmp_path_factory.mktemp("trial")
    posts = folder / "posts"
    with pytest.MonkeyPatch.context() as monkeypatch:
        home = link_weights(embedder_weights, fresh_home(folder / "home", monkeypatch))
        write_author(home, Author(SLUG, "Ada", sources=(str(posts),), language="en"))
        experiment = KillExperiment(home, posts)
        experiment.save("empty")
        write_posts(posts, OLDER_POSTS)
        experiment.run(1)
        experiment.save("imported")
        write_posts(posts, {name: text for name, text in NEWER_POSTS.items() if name != "kite"})
        yield experiment


@dataclass(frozen=True)
class RecoveryResult:
    """The differences between two runs after a kill and an undisturbed run.

    Attributes:
        was_killed: whether the kill came before the run finished.
        differences: tables that differ, and other differences.
    """

    kill: Kill
    was_killed: bool
    differences: list[str]


def _run_undisturbed(experiment: KillExperiment, start: str) -> tuple[HomeContent, list[str]]:
    experiment.restore(start)
    report = experiment.run(1)
    content = HomeContent.read(experiment.home)
    assert {*TABLES} <= content.tables.keys()
    assert all(report["computed"][0].values()), "the run computed nothing"
    assert report["found"]
    return content, report["found"]


def _run_after_kills(experiment: KillExperiment, kill_count: int) -> Iterator[RecoveryResult]:
    expected = {start: _run_undisturbed(experiment, start) for start in ("empty", "imported")}
    for kill in draw_kills(kill_count):
        experiment.restore(kill.start)
        was_killed = experiment.kill_run(kill)
        report = experiment.run(2)
        content, chunk_ids = expected[kill.start]
        differences = HomeContent.read(experiment.home).list_differing_tables(content)
        differences += ["the chunks found by a question"] if report["found"] != chunk_ids else []
        recomputed = [name for name, rows in report["computed"][1].items() if rows]
        differences += [f"{name} is computed again" for name in recomputed]
        yield RecoveryResult(kill, was_killed, differences)


@pytest.mark.long
@pytest.mark.timeout(1_200)
def test_four_kills_do_not_change_the_result(experiment: KillExperiment) -> None:
    results = list(_run_after_kills(experiment, 4))
    assert [result for result in results if result.differences] == []
    # On a busy machine, a run may finish before the test kills it.
    assert sum(result.was_killed for result in results) >= 3


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_twenty_kills_do_not_change_the_result(experiment: KillExperiment) -> None:
    results = list(_run_after_kills(experiment, 20))
    assert [result for result in results if result.differences] == []
    assert sum(result.was_killed for result in results) >= 15
