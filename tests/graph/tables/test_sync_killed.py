"""Test that a sync repeated after a kill at any boundary equals an undisturbed sync."""

from __future__ import annotations

import inspect
import multiprocessing
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.graph.tables.killed_sync import sync, sync_and_die
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables

BEFORE = {"a": "one two", "b": "three four", "c": "", "d": "five", "e": "six seven", "f": "eight"}
LEASE_S: float = inspect.signature(State.lease).parameters["ttl_s"].default
# Words of b, e and f move, c gets a word, d loses its word, f is deleted, g is new.
AFTER = {"a": "uno four", "b": "seven", "c": "three", "d": "", "e": "six", "g": "eight nine"}


def content(folder: Path) -> list[tuple[str, str]]:
    state = State.open(f"sqlite:///{folder}/state.sqlite")
    return Tables(str(folder / "tables"), state=state).read("words", "mara").rows()


@pytest.mark.drawn(2, of="kills in the graph")
# A new function version rewrites every row at the same boundaries, so every third is enough.
@pytest.mark.parametrize(("version", "every"), [("1", 1), ("2", 3)])
def test_a_sync_killed_at_a_boundary_is_repeatable(
    tmp_path: Path, version: str, every: int
) -> None:
    start = tmp_path / "start"
    before = sync(start, BEFORE, "1")
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(start, undisturbed)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.graph.tables.killed_sync"])

    def run(folder: Path, at: int) -> int | None:
        process = processes.Process(target=sync_and_die, args=(folder, AFTER, version, at))
        process.start()
        process.join(60)
        return process.exitcode

    assert run(undisturbed, -1) == 0
    boundaries = int((undisturbed / "boundaries").read_text())
    assert boundaries > 20, "fewer boundaries than writes"
    expected = sync(undisturbed, AFTER, version)
    assert expected.computed == 0
    for at in range(0, boundaries, every):
        killed = tmp_path / f"killed-{at}"
        shutil.copytree(start, killed)
        assert run(killed, at) == -signal.SIGKILL, at
        set_back = tmp_path / f"set-back-{at}"
        shutil.copytree(killed, set_back)
        start_time = time.monotonic()
        report = sync(killed, AFTER, version)
        elapsed = time.monotonic() - start_time
        assert elapsed < LEASE_S, "the sync waited for the killed holder's lease"
        assert report.data_version == expected.data_version, at
        assert content(killed) == content(undisturbed), at
        assert sync(killed, AFTER, version).computed == 0, at
        # The sources may also return to their state before the killed sync.
        reverted = sync(set_back, BEFORE, "1")
        assert reverted.data_version == before.data_version, at
        assert content(set_back) == content(start), at
        shutil.rmtree(killed)
        shutil.rmtree(set_back)
