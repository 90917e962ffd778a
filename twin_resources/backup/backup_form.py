"""Write and read a backup's bytes: a tar file, or objects under a prefix, named by SHA-256.

Scope: writing and reading both formats. Out of scope: the contents.

Equal contents are stored once. The record is written last, and a tar file gets its name last, so a
backup is either complete or absent. Under a prefix with an earlier backup, only new contents are
written.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from twin_resources.backup.backup_record import RECORD_NAME, BackupRecord, SavedFile
from twin_resources.errors import TwinError
from twin_resources.storage.object_store import is_object_address
from twin_resources.storage.places import FileStore
from twin_resources.storage.storage_faults import translate_storage_errors

_BLOCK_BYTES = 1 << 20
_FOLDER = "contents"


class BackupWriter(Protocol):
    """A target for saved files."""

    def add(self, file: Path, path: str, *, mode: int = 0) -> SavedFile:
        """Save a file, which must not change during the call.

        Args:
            path: the file's path in the record.

        Raises:
            TwinError: the file changed, or there is not enough space.
        """
        ...


class BackupReader(Protocol):
    """A source of saved files."""

    @property
    def record(self) -> BackupRecord: ...

    def write(self, saved: SavedFile, into: Path) -> None:
        """Write saved contents to a file and create its folder.

        Raises:
            TwinError: the contents are missing from the backup, or their bytes differ.
        """
        ...


@contextmanager
def open_backup_writer(address: str) -> Generator[tuple[BackupWriter, list[BackupRecord]]]:
    """Write a backup; it is complete when the block has appended its record to the list.

    Raises:
        TwinError: a file with that name exists, or the backup cannot be written.
    """
    records: list[BackupRecord] = []
    if is_object_address(address):
        writer = _ObjectsWriter(FileStore(address))
        yield writer, records
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, RECORD_NAME)
            file.write_bytes(records[0].to_json())
            writer.place.store_file(RECORD_NAME, file)
        return
    path = Path(address).expanduser()
    if path.exists():
        raise _already_exists_error(path)
    partial_path = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with translate_storage_errors(f"write the backup {path}", path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(partial_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with (
                os.fdopen(descriptor, "wb") as stream,
                tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar,
            ):
                yield _TarWriter(tar), records
                _add_bytes(tar, RECORD_NAME, records[0].to_json())
            _publish(partial_path, path)
    finally:
        partial_path.unlink(missing_ok=True)


def _publish(partial: Path, path: Path) -> None:
    """Give a complete backup its name, unless another command has created a file of that name."""
    try:
        path.hardlink_to(partial)
    except FileExistsError as error:
        raise _already_exists_error(path) from error
    except OSError:  # the file system has no hard links
        partial.rename(path)


def _already_exists_error(path: Path) -> TwinError:
    return TwinError(
        f"write the backup {path}",
        found="a file with that name exists",
        next_step="choose another name, or remove the file first",
    )


@contextmanager
def open_backup_reader(address: str) -> Generator[BackupReader]:
    """Open a backup for reading.

    Raises:
        TwinError: there is no backup, or it is incomplete.
    """
    if is_object_address(address):
        yield _ObjectsReader(FileStore(address))
        return
    path = Path(address).expanduser()
    try:
        tar = tarfile.open(path, mode="r:")  # noqa: SIM115 - closed below
    except (OSError, tarfile.TarError) as error:
        raise _no_backup_error(address, str(error)) from error
    with tar:
        yield _TarReader(tar, address)


def hash_file(file: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class _TarWriter:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._saved_hashes: set[str] = set()

    def add(self, file: Path, path: str, *, mode: int = 0) -> SavedFile:
        saved = SavedFile(path, hash_file(file), file.stat().st_size, mode)
        if saved.sha256 not in self._saved_hashes:
            member = tarfile.TarInfo(f"{_FOLDER}/{saved.sha256}")
            member.size = saved.bytes
            with file.open("rb") as stream:
                hashed_stream = _HashingStream(stream)
                self._tar.addfile(member, hashed_stream)  # pyright: ignore[reportArgumentType]
            if hashed_stream.sha256 != saved.sha256:
                raise _changed_file_error(file)
            self._saved_hashes.add(saved.sha256)
        return saved


class _HashingStream:
    """A stream that hashes the bytes read from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(size)
        self._digest.update(block)
        return block

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class _ObjectsWriter:
    def __init__(self, store: FileStore) -> None:
        self.place = store
        self._stored_names = set(store.list_files(_FOLDER))

    def add(self, file: Path, path: str, *, mode: int = 0) -> SavedFile:
        saved = SavedFile(path, hash_file(file), file.stat().st_size, mode)
        name = f"{_FOLDER}/{saved.sha256}"
        if name not in self._stored_names:
            self.place.store_file(name, file)
            if hash_file(file) != saved.sha256:
                raise _changed_file_error(file)
            self._stored_names.add(name)
        return saved


class _TarReader:
    def __init__(self, tar: tarfile.TarFile, address: str) -> None:
        self._tar, self._address = tar, address
        try:
            stream = tar.extractfile(RECORD_NAME)
            text = stream.read() if stream else b""
        except (KeyError, OSError, tarfile.TarError) as error:
            raise _no_backup_error(address, f"no {RECORD_NAME} in it") from error
        self.record = BackupRecord.from_json(text, address=address)

    def write(self, saved: SavedFile, into: Path) -> None:
        try:
            stream = self._tar.extractfile(f"{_FOLDER}/{saved.sha256}")
        except (KeyError, tarfile.TarError):
            stream = None
        if stream is None:
            raise _damaged_content_error(self._address, saved)
        with stream:
            _write_verified(stream, saved, into, self._address)


class _ObjectsReader:
    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._stored_names = set(store.list_files())
        if RECORD_NAME not in self._stored_names:
            raise _no_backup_error(store.address, f"no {RECORD_NAME} under it")
        with store.open_file(RECORD_NAME) as stream:
            self.record = BackupRecord.from_json(stream.read(), address=store.address)

    def write(self, saved: SavedFile, into: Path) -> None:
        name = f"{_FOLDER}/{saved.sha256}"
        if name not in self._stored_names:
            raise _damaged_content_error(self._store.address, saved)
        with self._store.open_file(name) as stream:
            _write_verified(stream, saved, into, self._store.address)


def _write_verified(stream: IO[bytes], saved: SavedFile, into: Path, address: str) -> None:
    digest = hashlib.sha256()
    with translate_storage_errors(f"write {into}", into.parent):
        into.parent.mkdir(parents=True, exist_ok=True)
        with into.open("wb") as target:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
                target.write(block)
        if saved.mode:
            into.chmod(saved.mode)
    if digest.hexdigest() != saved.sha256:
        raise _damaged_content_error(address, saved)


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _changed_file_error(file: Path) -> TwinError:
    return TwinError(
        f"save {file}", found="it changed during the backup", next_step="back up again in a moment"
    )


def _no_backup_error(address: str, detail: str) -> TwinError:
    return TwinError(
        f"read the backup {address}",
        found=f"not a complete backup ({detail})",
        next_step="give a file or prefix that `twin backup` completed",
    )


def _damaged_content_error(address: str, saved: SavedFile) -> TwinError:
    return TwinError(
        f"read {saved.path} from the backup {address}",
        found="the bytes differ from the saved ones, or are missing",
        next_step="use another backup; nothing was changed",
    )
