"""Restore a backup to an empty home, with its tables and state store at the configured addresses.

The home is built in a sibling folder, which is renamed at the end. Paths in the old home are
replaced with paths in the new one; hashes of tables, checkpoints and datasets do not depend on
them.
"""
# pyright: strict

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from twin_resources.backup.record import RECORD_NAME, BackupRecord, SavedTable
from twin_resources.backup.saving import read_backup_path
from twin_resources.backup.state_rows import move_paths, replace_paths, restore_state, sqlite_file
from twin_resources.errors import TwinError
from twin_resources.registry.registry import Registry
from twin_resources.storage.file_store import FileStore, hash_file
from twin_resources.storage.state.database_files import find_databases
from twin_resources.storage.state.home_state import has_rows, open_home_state
from twin_resources.storage.state.state import State
from twin_resources.storage.storage_faults import translate_storage_errors
from twin_resources.storage.tables import store
from twin_resources.storage.tables.table_integrity import check_table

if TYPE_CHECKING:
    from twin_resources.settings import Settings

_TEXT_SUFFIXES = frozenset({".json", ".toml", ".yaml", ".yml"})

Report = Callable[[str], object]


def restore(settings: Settings, file: str, *, report: Report = print) -> BackupRecord:
    """Create the home of these settings from a backup.

    The home's folder, the location of its tables and its state store must be empty.

    Args:
        report: function called with one line per step.

    Raises:
        TwinError: a location is not empty, another command restores to it, the backup is
            incomplete, or a restored table differs. In these cases, the home is not created.
    """
    path = read_backup_path(file, "read")
    record = _read_record(path)
    _check_empty(settings)
    staging = settings.home.with_name(f"{settings.home.name}.restoring")
    try:
        staging.mkdir(parents=True)
    except FileExistsError as error:
        raise TwinError(
            f"restore into {settings.home}",
            found=f"another command is writing to {staging}",
            next_step="wait for that command; if none is running, remove the folder and try again",
        ) from error
    try:
        report("files")
        _extract(path, record, staging)
        _move_paths(settings, record, staging)
        _restore_tables(settings, record, staging, report)
        _restore_state(settings, staging)
        if settings.home.exists():
            settings.home.rmdir()
        (staging / "home").rename(settings.home)
    finally:
        shutil.rmtree(staging)
    report("state store and policy")
    with closing(open_home_state(settings)) as state:
        Registry(state, policy_path=settings.policy_path).publish()
    return record


def _read_record(path: Path) -> BackupRecord:
    try:
        with tarfile.open(path, mode="r:") as tar:
            stream = tar.extractfile(RECORD_NAME)
            text = b"" if stream is None else stream.read()
    except (OSError, KeyError, tarfile.TarError) as error:
        raise TwinError(
            f"read the backup {path}",
            found=f"not a complete backup ({error})",
            next_step="specify a complete backup from `twin backup`",
        ) from error
    return BackupRecord.from_json(text, path=path)


def _extract(path: Path, record: BackupRecord, staging: Path) -> None:
    """Unpack a backup, and compare each file with its hash.

    Raises:
        TwinError: a file is missing, or its bytes differ.
    """
    with translate_storage_errors(f"write {staging}", staging), tarfile.open(path) as tar:
        tar.extractall(staging, filter="data")
    for name, sha256 in record.sha256.items():
        if not (staging / name).is_file() or hash_file(staging / name) != sha256:
            raise TwinError(
                f"read {name} from the backup {path}",
                found="the bytes differ from the saved ones, or are missing",
                next_step="use another backup; nothing was changed",
            )
    (staging / "home").mkdir(exist_ok=True)


def _move_paths(settings: Settings, record: BackupRecord, staging: Path) -> None:
    """Replace the old folders in configuration, author files, manifests and databases."""
    moved_paths = {record.home: str(settings.home), record.tables_base: settings.tables_base}
    if all(old == new for old, new in moved_paths.items()):
        return
    for path in (staging / "home").rglob("*"):
        if path.suffix not in _TEXT_SUFFIXES or not path.is_file():
            continue
        text = path.read_bytes()
        if any(old.encode() in text for old in moved_paths):
            path.write_text(replace_paths(text.decode("utf-8"), moved_paths), encoding="utf-8")
    for database in (*find_databases(staging / "home"), staging / "state.sqlite"):
        move_paths(database, moved_paths)


def _restore_tables(
    settings: Settings, record: BackupRecord, staging: Path, report: Report
) -> None:
    base = Path(settings.tables_base)
    if "://" not in settings.tables_base and base.is_relative_to(settings.home):
        base = staging / "home" / base.relative_to(settings.home)
        base.parent.mkdir(parents=True, exist_ok=True)
        if record.tables:
            (staging / "tables").rename(base)
        target = FileStore(str(base))
    else:
        target = FileStore(settings.tables_base)
        for name in FileStore(str(staging / "tables")).list_files():
            target.store_file(name, staging / "tables" / name)
    for table in record.tables:
        report(f"table {table.asset} of {table.author}")
        _check_table(table, f"{target.address}/{table.folder}")


def _check_table(table: SavedTable, uri: str) -> None:
    """Compare the data version of a table's values with the saved one.

    Raises:
        TwinError: they differ.
    """
    restored_table = store.open_table(uri)
    version = ""
    if restored_table is not None:
        check_table(restored_table, verify_values=True)
        version = store.read_data_version(restored_table)
    if version != table.data_version:
        raise TwinError(
            f"restore {table.asset} of {table.author}",
            found=f"data version {version or 'none'} instead of {table.data_version}",
            next_step="use another backup, and report this with the version of llm-twin",
        )


def _restore_state(settings: Settings, staging: Path) -> None:
    address, state_file = settings.state_address, sqlite_file(settings.state_address)
    if state_file is not None and state_file.is_relative_to(settings.home):
        address = f"sqlite:///{staging / 'home' / state_file.relative_to(settings.home)}"
    restore_state(staging / "state.sqlite", address)


def _check_empty(settings: Settings) -> None:
    """Check that the home, the tables and the state store are empty.

    Raises:
        TwinError: one of them is not empty.
    """
    next_step = "restore into a new home (`--home NEW`), a new prefix and an empty database"
    home = settings.home
    action = f"restore into {home}"
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise TwinError(action, found=f"{home} is not empty", next_step=next_step)
    if other_files := FileStore(settings.tables_base).list_files():
        cause = f"other files in {settings.tables_base}, such as {other_files[0]}"
        raise TwinError(action, found=cause, next_step=next_step)
    file = sqlite_file(settings.state_address)
    if file is not None and not file.exists():
        return
    with closing(State.open(settings.state_address)) as state:
        if has_rows(state):
            shown_url = state.engine.url.render_as_string(hide_password=True)
            raise TwinError(action, found=f"rows in {shown_url}", next_step=next_step)
