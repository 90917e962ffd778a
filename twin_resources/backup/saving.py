"""Save a home, its tables and its state store as one tar file.

The state store is saved first, so that everything it refers to is saved later. Each table is saved
under its lease and verified by rehashing every value. Files that the next start recreates are
omitted.
"""
# pyright: strict

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from twin_resources.backup.record import RECORD_NAME, SCHEMA_VERSION, BackupRecord, SavedTable
from twin_resources.backup.state_rows import save_state, sqlite_file
from twin_resources.errors import TwinError
from twin_resources.home_marker import MARKER_NAME
from twin_resources.storage.file_store import FileStore, hash_file
from twin_resources.storage.object_store import is_object_address
from twin_resources.storage.state.database_files import copy_database, find_databases
from twin_resources.storage.state.home_state import check_home_state, open_home_state
from twin_resources.storage.storage_faults import translate_storage_errors
from twin_resources.storage.tables import store
from twin_resources.storage.tables.table_integrity import check_table
from twin_resources.storage.tables.tables import Tables

if TYPE_CHECKING:
    from twin_resources.settings import Settings

SECRETS = "secrets.json"
# Folders and files that the next start recreates, that belong to running processes, or that contain
# the demo's home.
_EXCLUDED_FOLDERS = frozenset(
    {"cache", "chat", "demo", "gateway", "locks", "logs", "supervisor", "work"}
)
_EXCLUDED_FILES = frozenset({"endpoints.json", "env", MARKER_NAME, "policy.json"})
_EXCLUDED_SUFFIXES = (".partial", ".sending", ".lock", "-wal", "-shm", "-journal")

Report = Callable[[str], object]


@dataclass
class _Archive:
    """A tar file that is being written, and what stands in it."""

    tar: tarfile.TarFile
    sha256: dict[str, str] = field(default_factory=dict[str, str])
    bytes: int = 0

    def add(self, file: Path, name: str) -> None:
        with file.open("rb") as stream:
            before = os.fstat(stream.fileno())
            self.tar.addfile(self.tar.gettarinfo(arcname=name, fileobj=stream), stream)
        self.sha256[name] = hash_file(file)
        after = file.stat()
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            raise TwinError(
                f"save {file}",
                found="it changed during the backup",
                next_step="back up again in a moment",
            )
        self.bytes += after.st_size


def back_up(
    settings: Settings, file: str, *, secrets: bool = False, report: Report = print
) -> BackupRecord:
    """Save a home, which may be running, to a tar file.

    Args:
        secrets: whether to include `secrets.json`; anyone who can read the backup then has the
            keys.
        report: function called with one line per step.

    Raises:
        TwinError: there is nothing to save, a part is damaged, the file exists, or there is not
            enough space.
    """
    path = read_backup_path(file, "write")
    state_file = sqlite_file(settings.state_address)
    if state_file is not None and not state_file.exists():
        check_home_state(settings, None)
        raise TwinError(
            f"back up {settings.home}",
            found=f"no state store at {state_file}",
            next_step="specify the home (`--home`, TWIN_HOME), or start it once with `twin up`",
        )
    open_home_state(settings).close()  # a lost store must not replace a good backup
    with (
        translate_storage_errors(f"write the backup {path}", path.parent),
        _write_tar(path) as archive,
        tempfile.TemporaryDirectory(prefix="twin-backup-") as folder,
    ):
        scratch = Path(folder)
        report("state store")
        save_state(settings.state_address, scratch / "state.sqlite")
        archive.add(scratch / "state.sqlite", "state.sqlite")
        tables = tuple(_save_tables(settings, archive, scratch, report))
        report("files")
        _save_files(settings, archive, scratch, secrets=secrets)
        record = BackupRecord(
            schema=SCHEMA_VERSION,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            home=str(settings.home),
            tables_base=settings.tables_base,
            has_secrets=secrets,
            bytes=archive.bytes,
            tables=tables,
            sha256=archive.sha256,
        )
        (scratch / RECORD_NAME).write_bytes(record.to_json())
        archive.tar.add(scratch / RECORD_NAME, RECORD_NAME)
    return record


def read_backup_path(file: str, verb: str) -> Path:
    """Return the path of a backup.

    Raises:
        TwinError: it is an address.
    """
    if is_object_address(file):
        raise TwinError(
            f"{verb} the backup {file}",
            found="an address instead of a file",
            next_step="name a file, and copy it with `aws s3 cp`",
        )
    return Path(file).expanduser()


@contextmanager
def _write_tar(path: Path) -> Generator[_Archive]:
    """Open a tar file that gets its name when it is complete, and replaces no other file."""
    _check_free(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".partial")
    try:
        with (
            os.fdopen(descriptor, "wb") as stream,
            tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            yield _Archive(tar)
        _check_free(path)  # another command may have ended first
        Path(partial).rename(path)
    finally:
        Path(partial).unlink(missing_ok=True)


def _check_free(path: Path) -> None:
    if path.exists():
        raise TwinError(
            f"write the backup {path}",
            found="a file with that name exists",
            next_step="choose another name, or remove the file first",
        )


def _save_tables(
    settings: Settings, archive: _Archive, scratch: Path, report: Report
) -> Iterator[SavedTable]:
    files = FileStore(settings.tables_base)
    with closing(open_home_state(settings)) as state:
        tables = Tables(settings.tables_base, state=state)
        names = [
            (author, asset)
            for author in store.list_authors_with_tables(files.address)
            for asset in store.list_tables(f"{files.address}/{author}")
        ]
        for author, asset in names:
            report(f"table {asset} of {author}")
            with tables.lease(asset, author):
                table = store.open_table(tables.uri(asset, author))
                if table is None:
                    continue  # the first write to this table never finished
                check_table(table, verify_values=True)
                saved_table = SavedTable(
                    author=author,
                    asset=asset,
                    lance_version=tables.lance_version(asset, author) or 0,
                    data_version=store.read_data_version(table),
                    rows=table.row_count,
                )
                for name in files.list_files(saved_table.folder):
                    copy = scratch / "file"  # tables may be in a bucket
                    with files.open_file(name) as stream, copy.open("wb") as target:
                        shutil.copyfileobj(stream, target)
                    archive.add(copy, f"tables/{name}")
                yield saved_table


def _save_files(settings: Settings, archive: _Archive, scratch: Path, *, secrets: bool) -> None:
    """Save the home's files that a start does not recreate; databases as snapshots."""
    home = settings.home
    databases = set(find_databases(home, excluded={home / name for name in _EXCLUDED_FOLDERS}))
    for path in _list_files(settings, secrets=secrets):
        source = path
        if path in databases:
            source = scratch / "database"
            source.unlink(missing_ok=True)
            copy_database(path, source)
            source.chmod(path.stat().st_mode)
        archive.add(source, f"home/{path.relative_to(home).as_posix()}")


def _list_files(settings: Settings, *, secrets: bool) -> Iterator[Path]:
    home, tables = settings.home, Path(settings.tables_base)
    state = sqlite_file(settings.state_address)
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
            is_excluded |= path == state or (name == SECRETS and is_top and not secrets)
            if is_excluded or not path.is_file():
                continue
            yield path
