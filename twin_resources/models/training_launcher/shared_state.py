"""Keep the newest resumable state of a training run in the store that hosts share.

Scope: storing each new state during a training run, fetching the newest one on another host, and
deleting the states of finished training runs.
Out of scope: the content of a state (`twin_assets/training/training_state.py`).

A machine such as a Spot instance may be lost together with its disk. With `TWIN_STORE_URI`, the
same training run continues on another host from the last stored state, so it loses about one
checkpoint interval. The name of a job's folder contains the hash of the inputs, so a state is never
mistaken for that of a different training run.
"""
# pyright: strict

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twin_resources.errors import TwinError
from twin_resources.settings import Settings
from twin_resources.storage.shared_folders import SharedFolders

STATE_FOLDER = "state"  # in a job's folder; a complete state in it is `step-<number>/state.json`
POLL_INTERVAL_S = 1.0


@dataclass(frozen=True)
class SharedState:
    """The stored states of one job.

    Attributes:
        folder: the job's folder of states, below the home.
        report: callback that receives `{"text": line}` for each problem and each resumption.
    """

    folders: SharedFolders
    folder: Path
    report: Callable[[dict[str, Any]], None]

    @property
    def name(self) -> str:
        return self.folder.relative_to(self.folders.home).as_posix()

    def fetch_newest(self) -> None:
        """Fetch the newest stored state, unless this host has the same or a newer one.

        A state that cannot be fetched is reported; training then begins with this host's state.
        """
        try:
            stored_names = self.folders.list_folders(self.name)
            if not stored_names:
                return
            newest_name = max(stored_names)
            local_state = self.find_newest_local()
            if local_state is not None and local_state.name >= newest_name.rpartition("/")[2]:
                return
            self.folders.fetch(newest_name)
            self.report({"text": f"resuming from a stored state: {newest_name}"})
        except (TwinError, OSError) as error:
            self.report({"text": f"the stored training state is not used: {error}"})

    def store_newest(self, stored_step: str) -> str:
        """Store this host's newest state, and delete the older stored ones.

        Returns:
            The name of the newest step folder, or `stored_step` if that is still the newest. A
            state that cannot be stored is reported; storing it is not retried.
        """
        state = self.find_newest_local()
        if state is None or state.name == stored_step:
            return stored_step
        with tempfile.TemporaryDirectory(prefix="stored-", dir=self.folder.parent) as scratch:
            copy = Path(scratch, state.name)
            try:  # hard links, because the training run deletes this state after the next one
                shutil.copytree(state, copy, copy_function=os.link)
            except (FileNotFoundError, shutil.Error):
                return stored_step
            files = {file.name: file for file in copy.iterdir()}
            try:
                self.folders.store(f"{self.name}/{state.name}", files)
                for name in self.folders.list_folders(self.name):
                    if name.rpartition("/")[2] < state.name:
                        self.folders.remove(name)
            except (TwinError, OSError) as error:
                self.report({"text": f"the state {state.name} is only on this host: {error}"})
        return state.name

    def find_newest_local(self) -> Path | None:
        """Return this host's newest complete state, or None."""
        return max((path.parent for path in self.folder.glob("step-*/state.json")), default=None)


@contextmanager
def share_state(
    job_folder: Path, settings: Settings, report: Callable[[dict[str, Any]], None]
) -> Generator[None]:
    """Continue from a job's newest stored state, and store each new one while the context is open.

    Without `TWIN_STORE_URI`, or if the job's folder is outside the home, nothing is shared.
    """
    if not settings.store_uri or settings.home not in job_folder.parents:
        yield
        return
    folders = SharedFolders(settings.home, settings.store_uri)
    state = SharedState(folders, job_folder / STATE_FOLDER, report)
    state.fetch_newest()
    stop_event = threading.Event()

    def store_states() -> None:
        stored_step = ""
        while not stop_event.wait(POLL_INTERVAL_S):
            stored_step = state.store_newest(stored_step)

    thread = threading.Thread(target=store_states, name="stored training state")
    thread.start()
    try:
        yield
    finally:
        stop_event.set()
        thread.join()


def remove_shared_states(settings: Settings, author: str) -> None:
    """Delete the stored states of an author's finished training runs, `<slug>-<hash>`.

    Raises:
        TwinError: the store cannot be read or written.
    """
    if settings.store_uri:
        training_folder = (settings.work_dir / "training").relative_to(settings.home).as_posix()
        folders = SharedFolders(settings.home, settings.store_uri)
        for state in folders.list_folders(training_folder):
            job_folder = state.removeprefix(f"{training_folder}/").partition("/")[0]
            if job_folder.rpartition("-")[0] == author:
                folders.remove(state)
