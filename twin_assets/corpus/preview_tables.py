"""The tables of a preview: a temporary home for one import, from which the real one copies rows.

The command that makes a preview removes its tables when the import has ended or is not wanted. The
import's run finds them by a tag, if it runs on the same host.
"""
# pyright: strict

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twin_resources.settings import Settings
    from twin_resources.storage.state.state import State
    from twin_resources.storage.tables.tables import Tables

PREVIEW_TAG = "twin/preview"
"""Tag of an import's run: the folder of the preview's tables."""

_PREFIX = ".preview-"  # hidden, so that a home in a folder of posts is none of them


@contextmanager
def open_preview_tables(settings: Settings) -> Generator[Tables]:
    """Yield empty tables in a folder that is removed afterwards.

    The folder is inside the home, where `twin forget` finds it if this process is killed. Without a
    home, it is in the system's folder of temporary files: a preview creates no home.
    """
    from twin_resources.storage.state.state import State
    from twin_resources.storage.tables.tables import Tables

    parent = settings.host_dir if settings.home.is_dir() else None
    if parent is not None:
        parent.mkdir(mode=0o700, exist_ok=True)
        _remove_abandoned_folders(parent)
    with TemporaryDirectory(prefix=_PREFIX, dir=parent) as folder:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            with closing(State.open(f"sqlite:///{folder}/state.sqlite")) as state:
                yield Tables(folder, state=state)
        finally:
            os.close(descriptor)


def find_preview_tables(tags: Mapping[str, str], state: State) -> Tables | None:
    """Return the tables of the preview that a run continues, or None.

    Args:
        tags: the run's tags.
        state: the home's state store, which is not used for reading.
    """
    from twin_resources.storage.tables.tables import Tables

    folder = tags.get(PREVIEW_TAG, "")
    return Tables(folder, state=state) if folder and Path(folder).is_dir() else None


def _remove_abandoned_folders(parent: Path) -> None:
    """Remove the folders of commands that were killed: those with tables that no process locks."""
    for folder in parent.glob(f"{_PREFIX}*"):
        if not (folder / "state.sqlite").exists():
            continue  # another command is about to lock it
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)
