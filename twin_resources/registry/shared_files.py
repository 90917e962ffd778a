"""Share small files between hosts as rows of the state store: author files and pauses.

Scope: the rows, changes to them, and updating the files of a home from them.
Out of scope: when a host polls (`host_sync.py`), versions (`registry.py`, whose rows are the
policy).

A row overwrites a file that this module wrote. A file that a person changed on a host is kept and
reported. `twin authors apply` shares it.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from twin_resources.atomic_writes import replace_file
from twin_resources.authors.pausing import PAUSE_SUFFIX
from twin_resources.registry.rows import utc_now
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import (
    model_versions,
    moves,
    routing,
    shared_files,
    verdicts,
)

# A file in the home, with the SHA-256 of each file as written from its row.
WRITTEN_HASHES_FILE = "shared_files.json"
ChangeToken = tuple[object, ...]


@dataclass(frozen=True)
class FileChanges:
    """The names of the files whose rows would be new, changed or deleted."""

    new_names: tuple[str, ...]
    changed_names: tuple[str, ...]
    deleted_names: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.new_names or self.changed_names or self.deleted_names)


def read_author_files(folder: Path) -> dict[str, str]:
    """Return a folder's author files and pauses, by row name."""
    paths = [*folder.glob("*.toml"), *folder.glob(f"*{PAUSE_SUFFIX}")]
    return {f"authors/{path.name}": path.read_text(encoding="utf-8") for path in sorted(paths)}


def read_stored_files(state: State) -> dict[str, str]:
    """Return the content of every row, by name."""
    with state.read_transaction() as connection:
        rows = connection.execute(sa.select(shared_files).order_by(shared_files.c.name))
        return {row.name: row.content for row in rows}


def compare_files(stored_files: Mapping[str, str], desired_files: Mapping[str, str]) -> FileChanges:
    """Compare the stored files with the desired files."""
    shared_names = stored_files.keys() & desired_files.keys()
    return FileChanges(
        tuple(sorted(desired_files.keys() - stored_files.keys())),
        tuple(sorted(name for name in shared_names if stored_files[name] != desired_files[name])),
        tuple(sorted(stored_files.keys() - desired_files.keys())),
    )


def store_files(
    state: State, desired_files: Mapping[str, str], *, row_names: Iterable[str]
) -> None:
    """Replace the rows with these names; each changed row gets a new revision."""
    names = set(row_names)
    with state.transaction() as connection:
        rows = connection.execute(sa.select(shared_files)).all()
        stored_files = {row.name: row.content for row in rows if row.name in names}
        difference = compare_files(
            stored_files, {name: desired_files[name] for name in names & desired_files.keys()}
        )
        revision = max((row.revision for row in rows), default=0)
        replaced_names = (*difference.changed_names, *difference.deleted_names)
        connection.execute(sa.delete(shared_files).where(shared_files.c.name.in_(replaced_names)))
        for new_revision, name in enumerate(
            (*difference.new_names, *difference.changed_names), revision + 1
        ):
            connection.execute(
                sa.insert(shared_files).values(
                    name=name,
                    content=desired_files[name],
                    revision=new_revision,
                    written_at=utc_now(),
                )
            )


def share_file(settings: Settings, path: Path, *, is_deleted: bool = False) -> None:
    """Share a file of `authors/` with other hosts; without a shared store, do nothing.

    Args:
        is_deleted: whether the file was deleted. The caller must pass this, because this host's
            follower may have rewritten the file from its row.
    """
    if not has_shared_state(settings):
        return
    name = f"authors/{path.name}"
    desired_files = {} if is_deleted else {name: path.read_text(encoding="utf-8")}
    with closing(open_home_state(settings)) as state:
        store_files(state, desired_files, row_names=[name])


def fetch_author_files(settings: Settings) -> None:
    """Update this home's author files and pauses from their rows, if hosts share the store."""
    if has_shared_state(settings):
        with closing(open_home_state(settings)) as state:
            update_files(settings.home, read_stored_files(state))


def has_shared_state(settings: Settings) -> bool:
    """Return whether other hosts may use this home's state store."""
    return bool(settings.state_url) and not settings.state_url.startswith("sqlite")


def read_change_token(state: State) -> ChangeToken:
    """Read, in one query, a token that changes with files, versions, verdicts and routing."""
    values = (
        sa.func.max(shared_files.c.revision),
        sa.func.max(shared_files.c.written_at),
        sa.func.count(shared_files.c.name),
        sa.func.max(moves.c.number),
        sa.func.count(moves.c.number),
        sa.func.max(verdicts.c.number),
        sa.func.max(routing.c.written_at),
        sa.func.count(model_versions.c.version),
    )
    with state.read_transaction() as connection:
        columns = [sa.select(value).scalar_subquery() for value in values]
        return tuple(connection.execute(sa.select(*columns)).one())


def update_files(home: Path, stored_files: Mapping[str, str]) -> list[str]:
    """Update the files of a home from the rows.

    Returns:
        A line for each file that a person changed, and for each row with an invalid name.
    """
    path = home / WRITTEN_HASHES_FILE
    written_hashes: dict[str, str] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    previous_hashes, notes = dict(written_hashes), list[str]()
    for name, content in stored_files.items():
        file = home / name
        if name != f"authors/{file.name}" or not file.name.endswith((".toml", PAUSE_SUFFIX)):
            notes.append(f"the state store's row {name!r} is neither an author's file nor a pause")
            continue
        data = file.read_bytes() if file.exists() else None
        if (
            data is not None
            and data != content.encode()
            and _hash(data) != written_hashes.get(name)
        ):
            notes.append(
                f"{name} was changed on this host and differs from the state store's: share it "
                f"with `twin authors apply {file.parent}`, or delete it"
            )
            continue
        if data != content.encode():
            replace_file(file, content)
        written_hashes[name] = _hash(content.encode())
    for name in written_hashes.keys() - stored_files.keys():
        file = home / name
        if file.exists() and _hash(file.read_bytes()) == written_hashes[name]:
            file.unlink()
        del written_hashes[name]
    if written_hashes != previous_hashes:
        replace_file(path, json.dumps(written_hashes, indent=1, sort_keys=True))
    return notes


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
