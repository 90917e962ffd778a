"""Run `twin authors apply`: share a folder's author files with every host of the state store.

Scope: printing the changes, asking for confirmation, and copying this home's versions to the store.
Out of scope: the rows (`registry/shared_files.py`), and how hosts apply them (`host_sync.py`).
"""
# pyright: strict

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from rich.console import Console

from twin_cli.commands.terminal_questions import confirm
from twin_resources.atomic_writes import replace_file
from twin_resources.authors import list_author_slugs, read_author
from twin_resources.authors.pausing import PAUSE_SUFFIX
from twin_resources.errors import TwinError
from twin_resources.registry.host_sync import share_versions
from twin_resources.registry.registry import Registry
from twin_resources.registry.shared_files import (
    compare_files,
    has_shared_state,
    read_author_files,
    read_stored_files,
    store_files,
)
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state


def run_apply(
    settings: Settings,
    folder: Path,
    *,
    is_confirmed: bool,
    console: Console,
    read_line: Callable[[str], str] = input,
) -> int:
    """Share a folder's files and the weights of this home's versions; return the exit code.

    Pauses are not part of a folder and remain unchanged.

    Raises:
        TwinError: the state store is not shared, the folder has no author file, or a file is
            invalid.
    """
    action = f"share the author files of {folder}"
    if not has_shared_state(settings):
        raise TwinError(
            action,
            found="the state store belongs to this home alone",
            next_step="set TWIN_STATE_URL to a PostgreSQL database; a single host reads its own "
            "files and needs no sharing",
        )
    new_files = _omit_pauses(read_author_files(folder))
    if not new_files:
        raise TwinError(
            action, found="no *.toml file", next_step="name the folder that contains the files"
        )
    _validate_files(settings, new_files)
    with closing(open_home_state(settings)) as state:
        stored_texts = _omit_pauses(read_stored_files(state))
        file_changes = compare_files(stored_texts, new_files)
        for change_kind, names in (
            ("new", file_changes.new_names),
            ("changed", file_changes.changed_names),
            ("deleted", file_changes.deleted_names),
        ):
            for name in names:
                console.print(f"{change_kind}: {name}")
        if not file_changes:
            console.print("author files: no changes")
        elif not (is_confirmed or confirm("Apply these changes?", read_line=read_line)):
            console.print("nothing was changed; use --yes to apply without asking")
            return 1
        else:
            store_files(state, new_files, row_names={*stored_texts, *new_files})
        for name in share_versions(settings, Registry(state, policy_path=settings.policy_path)):
            console.print(f"stored: {name}")
    return 0


def _omit_pauses(files: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in files.items() if not name.endswith(PAUSE_SUFFIX)}


def _validate_files(settings: Settings, files: Mapping[str, str]) -> None:
    """Check that every file is a valid author file.

    Raises:
        TwinError: a file is invalid.
    """
    with tempfile.TemporaryDirectory(prefix="twin-authors-") as temporary_folder:
        for name, text in files.items():
            replace_file(Path(temporary_folder, name), text)
        copy = settings.model_copy(update={"home": Path(temporary_folder)})
        for slug in list_author_slugs(copy):
            read_author(copy, slug)
