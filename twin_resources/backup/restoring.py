"""Restore a backup to an empty home, with its tables and state store at the configured addresses.

Scope: the steps of `twin restore`, checking that its target is empty, and verifying the tables.
Out of scope: the format of a backup (`backup_format.py`), rows (`state_rows.py`).

The home is built in a sibling folder, which is renamed at the end. Paths in the old home are
replaced with paths in the new one; hashes of tables, checkpoints and datasets do not depend on
them.
"""
# pyright: strict

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from twin_resources.backup.backup_format import BackupReader, open_backup_reader
from twin_resources.backup.backup_record import BackupRecord, SavedTable
from twin_resources.backup.state_rows import move_paths, replace_paths, restore_state, sqlite_file
from twin_resources.errors import TwinError
from twin_resources.registry.registry import Registry
from twin_resources.storage.file_store import FileStore
from twin_resources.storage.state.database_files import find_databases
from twin_resources.storage.state.home_state import has_rows, open_home_state
from twin_resources.storage.state.state import State
from twin_resources.storage.tables import store
from twin_resources.storage.tables.table_integrity import check_table

if TYPE_CHECKING:
    from twin_resources.settings import Settings

_TEXT_SUFFIXES = frozenset({".json", ".toml", ".yaml", ".yml"})
# The file is locked while a process builds the home; an unlocked file is from a killed run.
_LOCK_NAME = ".twin-restoring"

Report = Callable[[str], object]


def restore(settings: Settings, address: str, *, report: Report = print) -> BackupRecord:
    """Create the home of these settings from a backup.

    The home's folder, the location of its tables and its state store must be empty.

    Args:
        report: function called with one line per step.

    Raises:
        TwinError: a location is not empty, another command restores to it, the backup is
            incomplete, or a restored table differs. In these cases, the home is not created. The
            error is also raised if weights cannot be stored for other hosts; the home then exists.
    """
    with open_backup_reader(address) as reader:
        record = reader.read_record()
        _check_empty(settings, record)
        staging = settings.home.with_name(f"{settings.home.name}.restoring")
        with _lock_staging_folder(staging):
            try:
                _restore_into(settings, record, reader, staging, report=report)
            except BaseException:
                shutil.rmtree(staging)
                raise
    report("state store and policy")
    with closing(open_home_state(settings)) as state:
        Registry(state, policy_path=settings.policy_path).publish()
    return record


@contextmanager
def _lock_staging_folder(staging: Path) -> Generator[None]:
    """Create the empty folder that becomes the home, and lock it for this process.

    Raises:
        TwinError: another process is filling it.
    """
    try:
        if (staging / _LOCK_NAME).exists():
            with (staging / _LOCK_NAME).open("a") as abandoned_lock:
                fcntl.flock(abandoned_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(staging)
        staging.mkdir(parents=True)
        lock = (staging / _LOCK_NAME).open("a")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, FileExistsError) as error:
        raise TwinError(
            f"restore into {staging.with_suffix('')}",
            found=f"another command is writing to {staging}",
            next_step="wait for that command; if none is running, remove the folder and try again",
        ) from error
    with lock:
        yield


def _restore_into(
    settings: Settings, record: BackupRecord, reader: BackupReader, staging: Path, *, report: Report
) -> None:
    moved_paths = _map_moved_paths(settings, record)
    report("files")
    for saved_file in record.files:
        reader.write(saved_file, staging / saved_file.path)
    _rewrite_paths_in_texts(staging, moved_paths)
    for database in find_databases(staging):
        move_paths(database, moved_paths)
    # If the tables are inside the home, they are written to the staging folder.
    base = settings.tables_base
    tables_path = Path(base)
    is_in_home = "://" not in base and tables_path.is_relative_to(settings.home)
    tables_target = str(staging / tables_path.relative_to(settings.home)) if is_in_home else base
    with tempfile.TemporaryDirectory(prefix="twin-restore-") as scratch:
        for table in record.tables:
            report(f"table {table.asset} of {table.author}")
            _restore_table(table, reader, FileStore(tables_target), Path(scratch, "file"))
        file = Path(scratch, "state.sqlite")
        reader.write(record.state, file)
        move_paths(file, moved_paths)
        state_file = sqlite_file(settings.state_address)
        if state_file is not None and state_file.is_relative_to(settings.home):
            restore_state(file, f"sqlite:///{staging / state_file.relative_to(settings.home)}")
        else:
            restore_state(file, settings.state_address)
    (staging / _LOCK_NAME).unlink()
    if settings.home.exists():
        settings.home.rmdir()
    staging.rename(settings.home)


def _restore_table(
    table: SavedTable, reader: BackupReader, target: FileStore, scratch: Path
) -> None:
    """Write a table's files, and verify the data version of its values against the backup.

    Raises:
        TwinError: the table differs from the saved one.
    """
    for saved_file in table.files:
        reader.write(saved_file, scratch)
        target.store_file(f"{table.folder}/{saved_file.path}", scratch)
    uri = f"{target.address}/{table.folder}"
    restored_table = store.open_table(uri)
    version = ""
    if restored_table is not None:
        check_table(restored_table, verify_values=True)
        version = store.compute_data_version(
            store.read_record(restored_table), restored_table.types
        )
    if version != table.data_version:
        raise TwinError(
            f"restore {table.asset} of {table.author}",
            found=f"data version {version or 'none'} instead of {table.data_version}",
            next_step="use another backup, and report this with the version of llm-twin",
        )


def _check_empty(settings: Settings, record: BackupRecord) -> None:
    """Check that the home, the tables and the state store are empty.

    Raises:
        TwinError: one of them is not empty. Table files from an earlier restore of this backup are
            allowed.
    """
    next_step = "restore into a new home (`--home NEW`), a new prefix and an empty database"
    home = settings.home
    action = f"restore into {home}"
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise TwinError(action, found=f"{home} is not empty", next_step=next_step)
    saved_names = {
        f"{table.folder}/{saved_file.path}" for table in record.tables for saved_file in table.files
    }
    other_files = [
        name for name in FileStore(settings.tables_base).list_files() if name not in saved_names
    ]
    if other_files:
        cause = f"other files in {settings.tables_base}, such as {other_files[0]}"
        raise TwinError(action, found=cause, next_step=next_step)
    file = sqlite_file(settings.state_address)
    if file is not None and not file.exists():
        return
    with closing(State.open(settings.state_address)) as state:
        if has_rows(state):
            shown_url = state.engine.url.render_as_string(hide_password=True)
            raise TwinError(action, found=f"rows in {shown_url}", next_step=next_step)


def _map_moved_paths(settings: Settings, record: BackupRecord) -> dict[str, str]:
    """Return the mapping from old to new folders; empty if no folder has moved."""
    pairs = {record.home: str(settings.home), record.tables_base: settings.tables_base}
    return {} if all(old == new for old, new in pairs.items()) else pairs


def _rewrite_paths_in_texts(staging: Path, moved_paths: dict[str, str]) -> None:
    """Replace the old folders in the home's configuration, author files and manifests."""
    for path in staging.rglob("*"):
        if path.suffix not in _TEXT_SUFFIXES or not path.is_file():
            continue
        text = path.read_bytes()
        if any(old.encode() in text for old in moved_paths):
            path.write_text(replace_paths(text.decode("utf-8"), moved_paths), encoding="utf-8")
