"""Test that a training run's newest state is stored, fetched on another host and deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twin_resources.models.training_launcher.shared_state import (
    SharedState,
    remove_shared_states,
    share_state,
)
from twin_resources.settings import Settings
from twin_resources.storage.shared_folders import SharedFolders

JOB = "work/training/ann-0a"
OpenState = Callable[[str], SharedState]


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def open_state_on(tmp_path: Path, lines: list[str]) -> OpenState:
    """Return a function that opens the job's states on a host with its own disk."""

    def open_state(host: str) -> SharedState:
        folders = SharedFolders(tmp_path / host, str(tmp_path / "store"))
        return SharedState(
            folders, tmp_path / host / JOB / "state", lambda message: lines.append(message["text"])
        )

    return open_state


def write_state(state: SharedState, step: int) -> Path:
    folder = state.folder / f"step-{step:06}"
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(bytes([step]))
    (folder / "state.json").write_text(f'{{"step": {step}}}', encoding="utf-8")
    return folder


def test_another_host_continues_from_the_newest_state(
    open_state_on: OpenState, lines: list[str]
) -> None:
    first_host = open_state_on("first")
    write_state(first_host, 3)
    assert first_host.store_newest("") == "step-000003"
    write_state(first_host, 6)
    assert first_host.store_newest("step-000003") == "step-000006"
    assert first_host.folders.list_folders(JOB) == [f"{JOB}/state/step-000006"]

    second_host = open_state_on("second")
    second_host.fetch_newest()

    assert second_host.find_newest_local() == second_host.folder / "step-000006"
    assert (second_host.folder / "step-000006" / "weights.safetensors").read_bytes() == b"\x06"
    assert lines == [f"resuming from a stored state: {JOB}/state/step-000006"]


def test_a_newer_state_on_this_host_is_kept(open_state_on: OpenState, lines: list[str]) -> None:
    first_host, second_host = open_state_on("first"), open_state_on("second")
    write_state(first_host, 3)
    first_host.store_newest("")
    write_state(second_host, 6)

    second_host.fetch_newest()

    assert [folder.name for folder in second_host.folder.iterdir()] == ["step-000006"]
    assert lines == []


def test_an_incomplete_or_deleted_state_is_not_stored(
    open_state_on: OpenState, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_host = open_state_on("first")
    (first_host.folder / "step-000003").mkdir(parents=True)
    assert first_host.store_newest("") == ""
    state = write_state(first_host, 6)
    (state / "weights.safetensors").unlink()  # the training run deletes a state file by file
    newest = first_host.find_newest_local()
    assert newest == state
    (state / "state.json").unlink()
    monkeypatch.setattr(SharedState, "find_newest_local", lambda _self: state)
    state.rmdir()
    assert first_host.store_newest("") == ""
    assert first_host.folders.list_folders(JOB) == []


def test_a_store_that_cannot_be_written_is_reported_once(
    open_state_on: OpenState, lines: list[str], tmp_path: Path
) -> None:
    (tmp_path / "store").write_text("a file, not a folder", encoding="utf-8")
    first_host = open_state_on("first")
    write_state(first_host, 3)

    assert first_host.store_newest("") == "step-000003"

    (line,) = lines
    assert line.startswith("the state step-000003 is only on this host: ")


def test_a_damaged_state_is_reported_and_not_used(
    open_state_on: OpenState, lines: list[str], tmp_path: Path
) -> None:
    first_host = open_state_on("first")
    write_state(first_host, 3)
    first_host.store_newest("")
    (tmp_path / "store" / JOB / "state/step-000003/weights.safetensors").write_bytes(b"?")

    second_host = open_state_on("second")
    second_host.fetch_newest()

    assert second_host.find_newest_local() is None
    (line,) = lines
    assert line.startswith("the stored training state is not used: ")


def test_a_state_is_stored_while_the_context_is_open(home: Settings, tmp_path: Path) -> None:
    settings = home.model_copy(update={"store_uri": str(tmp_path / "store")})
    folders = SharedFolders(settings.home, settings.store_uri)
    job_folder = settings.home / JOB
    messages: list[dict[str, Any]] = []
    state = SharedState(folders, job_folder / "state", messages.append)
    with share_state(job_folder, settings, messages.append):
        write_state(state, 3)
        while not folders.list_folders(JOB):
            pass
    assert messages == []

    remove_shared_states(settings, "an")
    assert folders.list_folders(JOB) == [f"{JOB}/state/step-000003"]
    remove_shared_states(settings, "ann")
    assert folders.list_folders(JOB) == []
