"""Test that a sync repeated after a kill at any boundary equals an undisturbed sync."""

from __future__ import annotations

import multiprocessing
import shutil
import signal
from pathlib import Path

import pytest

from tests.graph.tables.killed_sync import sync, sync_until_killed
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables

BEFORE = {"a": "one two", "b": "three four", "c": "", "d": "five", "e": "six seven", "f": "eight"}
# Words of b, e and f move, c gets a word, d loses its word, f is deleted, g is new.
AFTER = {"a": "uno four", "b": "seven", "c": "three", "d": "", "e": "six", "g": "eight nine"}


def read_rows(folder: Path) -> list[tuple[str, str, str]]:
    state = State.open(f"sqlite:///{folder}/state.sqlite")
    return Tables(str(folder / "tables"), state=state).read("words", "mara").rows()


@pytest.mark.long
# A new function version rewrites every row at the same boundaries, so every third is enough.
@pytest.mark.parametrize(("version", "boundary_step"), [("1", 1), ("2", 3)])
def test_a_sync_killed_at_a_boundary_is_repeatable(
    tmp_path: Path, version: str, boundary_step: int
) -> None:
    start = tmp_path / "start"
    before = sync(start, BEFORE, "1")
    undisturbed_folder = tmp_path / "undisturbed"
    shutil.copytree(start, undisturbed_folder)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.graph.tables.killed_sync"])

    def run_sync(folder: Path, boundary: int) -> int | None:
        process = processes.Process(
            target=sync_until_killed, args=(folder, AFTER, version, boundary)
        )
        process.start()
        process.join(60)
        return process.exitcode

    assert run_sync(undisturbed_folder, -1) == 0
    boundary_count = int((undisturbed_folder / "boundaries").read_text())
    assert boundary_count > 12, "fewer boundaries than writes"
    expected = sync(undisturbed_folder, AFTER, version)
    assert expected.computed_count == 0
    for boundary in range(0, boundary_count, boundary_step):
        killed_folder = tmp_path / f"killed-{boundary}"
        shutil.copytree(start, killed_folder)
        assert run_sync(killed_folder, boundary) == -signal.SIGKILL, boundary
        reverted_folder = tmp_path / f"set-back-{boundary}"
        shutil.copytree(killed_folder, reverted_folder)
        report = sync(killed_folder, AFTER, version)
        assert report.data_version == expected.data_version, boundary
        assert read_rows(killed_folder) == read_rows(undisturbed_folder), boundary
        assert sync(killed_folder, AFTER, version).computed_count == 0, boundary
        # The sources may also return to their state before the killed sync.
        reverted_report = sync(reverted_folder, BEFORE, "1")
        assert reverted_report.data_version == before.data_version, boundary
        assert read_rows(reverted_folder) == read_rows(start), boundary
        shutil.rmtree(killed_folder)
        shutil.rmtree(reverted_folder)
