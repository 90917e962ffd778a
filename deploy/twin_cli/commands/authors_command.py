"""Run `twin authors apply`: share a folder's author files with every host of the state store.

Scope: the plan in words, the question, and copying this home's versions to the store.
Out of scope: the rows (`registry/shared_files.py`), the work of the hosts (`following.py`).
"""
# pyright: strict

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from rich.console import Console

from twin_cli.commands.terminal_questions import at_a_terminal, says_yes
from twin_resources.atomic_writes import replace_file
from twin_resources.authors import list_authors
from twin_resources.authors.pausing import SUFFIX
from twin_resources.errors import TwinError
from twin_resources.registry.following import share_versions
from twin_resources.registry.registry import Registry
from twin_resources.registry.shared_files import (
    changes,
    files_of,
    is_shared,
    store_files,
    stored_files,
)
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State


def run_apply(
    settings: Settings,
    folder: Path,
    *,
    agreed: bool,
    console: Console,
    read: Callable[[str], str] = input,
) -> int:
    """Share a folder's files and what this home's versions need; return the exit code.

    Pauses are not part of a folder and stay unchanged.

    Raises:
        TwinError: the state store is not shared, the folder has no author file, or a file has a
            mistake.
    """
    tried = f"share the author files of {folder}"
    if not is_shared(settings):
        raise TwinError(
            tried,
            found="a state store of this home alone",
            next_step="set TWIN_STATE_URL to PostgreSQL; one host follows its own files",
        )
    wanted = {name: text for name, text in files_of(folder).items() if not name.endswith(SUFFIX)}
    if not wanted:
        raise TwinError(tried, found="no *.toml there", next_step="name the folder with the files")
    _check(settings, wanted)
    with closing(State.open(settings.state_address)) as state:
        stored = {name: at for name, at in stored_files(state).items() if not name.endswith(SUFFIX)}
        difference = changes(stored, wanted)
        for what, names in vars(difference).items():
            for name in names:
                console.print(f"{what}: {name}", markup=False)
        if not difference:
            console.print("author files: nothing to do", markup=False)
        elif not (agreed or _agrees(read)):
            console.print("nothing was changed; --yes applies it without asking", markup=False)
            return 1
        else:
            store_files(state, wanted, among={*stored, *wanted})
        for name in share_versions(settings, Registry(state, policy_path=settings.policy_path)):
            console.print(f"stored: {name}", markup=False)
    return 0


def _check(settings: Settings, wanted: Mapping[str, str]) -> None:
    """Raise an error unless every file can be read as an author's.

    Raises:
        TwinError: a file cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="twin-authors-") as scratch:
        for name, text in wanted.items():
            replace_file(Path(scratch, name), text)
        list_authors(settings.model_copy(update={"home": Path(scratch)}))


def _agrees(read: Callable[[str], str]) -> bool:
    return at_a_terminal() and bool(says_yes("Apply this? yes/no [no]: ", "Apply it?", read=read))
