"""Save a home, which may be running, as consistent snapshots of its parts.

Scope: the parts of a home that `twin backup` saves, and their order. Out of scope: the format of a
backup (`backup_format.py`), databases (`state_rows.py`, `database_files.py`).

The state store is saved first, so that everything it refers to is saved later. Each table is saved
under its lease and verified by rehashing every value. Files that the next start recreates are
omitted.
"""
# pyright: strict

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from twin_resources.backup.backup_format import BackupWriter, open_backup_writer
from twin_resources.backup.backup_record import BackupRecord, SavedFile, SavedTable
from twin_resources.backup.state_rows import save_state, sqlite_file
from twin_resources.errors import TwinError
from twin_resources.storage.file_store import FileStore
from twin_resources.storage.state.database_files import copy_database, find_databases
from twin_resources.storage.state.home_state import MARKER_NAME, check_home_state, open_home_state
from twin_resources.storage.tables import store
from twin_resources.storage.tables.table_integrity import check_table
from twin_resources.storage.tables.tables import Tables

if TYPE_CHECKING:
    from twin_resources.settings import Settings

SECRETS = "secrets.json"
# Folders and files that the next start recreates, that belong to running processes, or that contain
# the demo's home.
_EXCLUDED_FOLDERS = frozenset({"cache", "chat", "demo", "gateway", "logs", "supervisor", "work"})
_EXCLUDED_FILES = frozenset({"endpoints.json", "env", MARKER_NAME, "policy.json"})
_EXCLUDED_SUFFIXES = (".partial", ".sending", ".lock", "-wal", "-shm", "-journal")

Report = Callable[[str], object]


def back_up(
    settings: Settings, address: str, *, secrets: bool = False, report: Report = print
) -> BackupRecord:
    """Save a home, which may be running, to a tar file.

    Args:
        secrets: whether to include `secrets.json`; anyone who can read the backup then has the
            keys.
        report: function called with one line per step.

    Raises:
        TwinError: there is nothing to save, a part is damaged, or there is not enough space.
    """
    file = sqlite_file(settings.state_address)
    if file is not None and not file.exists():
        check_home_state(settings, None)
        raise TwinError(
            f"back up {settings.home}",
            found=f"no state store at {file}",
            next_step="specify the home (`--home`, TWIN_HOME), or start it once with `twin up`",
        )
    open_home_state(settings).close()  # a lost store must not replace a good backup
    with (
        open_backup_writer(address) as writer,
        tempfile.TemporaryDirectory(prefix="twin-backup-") as folder,
    ):
        scratch = Path(folder)
        report("state store")
        save_state(settings.state_address, scratch / "state.sqlite")
        state = writer.add(scratch / "state.sqlite", "state.sqlite")
        tables = tuple(_save_tables(settings, writer, scratch, report))
        report("files")
        record = BackupRecord(
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            home=str(settings.home),
            tables_base=settings.tables_base,
            has_secrets=secrets,
            state=state,
            files=tuple(_save_files(settings, writer, scratch, secrets=secrets)),
            tables=tables,
        )
        writer.finish(record)
    return record


def _save_tables(
    settings: Settings, writer: BackupWriter, scratch: Path, report: Report
) -> Iterator[SavedTable]:
    table_files = FileStore(settings.tables_base)
    with closing(open_home_state(settings)) as state:
        tables = Tables(settings.tables_base, state=state)
        names = [
            (author, asset)
            for author in store.list_authors_with_tables(table_files.address)
            for asset in store.list_tables(f"{table_files.address}/{author}")
        ]
        for author, asset in names:
            report(f"table {asset} of {author}")
            with tables.lease(asset, author):
                table = store.open_table(tables.uri(asset, author))
                if table is None:
                    continue  # the first write to this table never finished
                check_table(table, verify_values=True)
                table_record = store.read_record(table)
                folder = f"{author}/{asset}.lance"
                yield SavedTable(
                    author=author,
                    asset=asset,
                    lance_version=tables.lance_version(asset, author) or 0,
                    data_version=store.compute_data_version(table_record, table.types),
                    rows=table_record.row_count,
                    files=tuple(
                        _save_table_file(
                            table_files, name, name.removeprefix(f"{folder}/"), writer, scratch
                        )
                        for name in table_files.list_files(folder)
                    ),
                )


def _save_table_file(
    table_files: FileStore, name: str, path: str, writer: BackupWriter, scratch: Path
) -> SavedFile:
    """Save one file of a table from a folder or an object store."""
    if "://" not in table_files.address:
        return writer.add(Path(table_files.address, name), path)
    file = scratch / "object"
    with table_files.open_file(name) as stream, file.open("wb") as target:
        shutil.copyfileobj(stream, target)
    return writer.add(file, path)


def _save_files(
    settings: Settings, writer: BackupWriter, scratch: Path, *, secrets: bool
) -> Iterator[SavedFile]:
    """Save and yield the home's files that a start does not recreate; databases as snapshots."""
    home = settings.home
    state = sqlite_file(settings.state_address)
    databases = set(find_databases(home, excluded={home / name for name in _EXCLUDED_FOLDERS}))
    for path in _list_files(settings, secrets=secrets):
        if state is not None and path == state:
            continue
        name, mode = path.relative_to(home).as_posix(), path.stat().st_mode & 0o777
        if path in databases:
            snapshot = scratch / "database"
            snapshot.unlink(missing_ok=True)
            copy_database(path, snapshot)
            yield writer.add(snapshot, name, mode=mode)
            continue
        yield writer.add(path, name, mode=mode)


def _list_files(settings: Settings, *, secrets: bool) -> Iterator[Path]:
    home = settings.home
    tables = Path(settings.tables_base)
    for walked_folder, folders, names in os.walk(home, followlinks=True):
        folder = Path(walked_folder)
        is_top = folder == home
        folders[:] = sorted(
            name for name in folders
            if folder / name != tables and not (is_top and name in _EXCLUDED_FOLDERS)
        )  # fmt: skip
        for name in sorted(names):
            path = folder / name
            is_excluded = name.endswith(_EXCLUDED_SUFFIXES) or (is_top and name in _EXCLUDED_FILES)
            is_excluded |= (folder.name, name) == ("host", "servers.json")
            if is_excluded or (name == SECRETS and is_top and not secrets) or not path.is_file():
                continue
            yield path
