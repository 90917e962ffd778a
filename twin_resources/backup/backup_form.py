"""Write and read a backup's bytes: a tar file, or objects under a prefix, named by SHA-256.

Scope: writing and reading both forms. Out of scope: the contents.

Each content is stored once. The record is written last, and the tar file gets its name last, so a
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

from twin_resources.backup.backup_record import NAME, BackupRecord, SavedFile
from twin_resources.errors import TwinError
from twin_resources.storage.object_store import is_object_address
from twin_resources.storage.places import FilePlace
from twin_resources.storage.storage_faults import faults_told

_BLOCK = 1 << 20
_FOLDER = "contents"


class BackupWriter(Protocol):
    """A target for saved files."""

    def add(self, file: Path, path: str, *, mode: int = 0) -> SavedFile:
        """Save a file that does not change while it is saved.

        Args:
            path: the file's path in the record.

        Raises:
            TwinError: the file changed, or there is no space for it.
        """
        ...


class BackupReader(Protocol):
    """A source of saved files."""

    @property
    def record(self) -> BackupRecord: ...

    def write(self, saved: SavedFile, into: Path) -> None:
        """Write a content to a file and create its folder.

        Raises:
            TwinError: the backup no longer has the content, or its bytes differ.
        """
        ...


@contextmanager
def written_backup(place: str) -> Generator[tuple[BackupWriter, list[BackupRecord]]]:
    """Write a backup; it is complete once the block has put its record into the list.

    Raises:
        TwinError: a file of that name exists, or the backup cannot be written.
    """
    records: list[BackupRecord] = []
    if is_object_address(place):
        bucket = _ObjectsWriter(FilePlace(place))
        yield bucket, records
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, NAME)
            file.write_bytes(records[0].to_json())
            bucket.place.store(NAME, file)
        return
    path = Path(place).expanduser()
    if path.exists():
        raise _taken(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with faults_told(f"write the backup {path}", path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with (
                os.fdopen(descriptor, "wb") as stream,
                tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar,
            ):
                yield _TarWriter(tar), records
                _add_bytes(tar, NAME, records[0].to_json())
            _name(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _name(partial: Path, path: Path) -> None:
    """Give a complete backup its name, unless another command has taken it by now."""
    try:
        path.hardlink_to(partial)
    except FileExistsError as error:
        raise _taken(path) from error
    except OSError:  # a file system without links
        partial.rename(path)


def _taken(path: Path) -> TwinError:
    return TwinError(
        f"write the backup {path}",
        found="a file of that name",
        next_step="name another one, or remove it first",
    )


@contextmanager
def opened_backup(place: str) -> Generator[BackupReader]:
    """Open a backup for reading.

    Raises:
        TwinError: there is no backup, or it is incomplete.
    """
    if is_object_address(place):
        yield _ObjectsReader(FilePlace(place))
        return
    path = Path(place).expanduser()
    try:
        tar = tarfile.open(path, mode="r:")  # noqa: SIM115 - closed below
    except (OSError, tarfile.TarError) as error:
        raise _none_there(place, str(error)) from error
    with tar:
        yield _TarReader(tar, place)


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file's bytes, hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class _TarWriter:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._there: set[str] = set()

    def add(self, file: Path, path: str, *, mode: int = 0) -> SavedFile:
        saved = SavedFile(path, sha256_of(file), file.stat().st_size, mode)
        if saved.sha256 not in self._there:
            member = tarfile.TarInfo(f"{_FOLDER}/{saved.sha256}")
            member.size = saved.bytes
            with file.open("rb") as stream:
                read = _HashedStream(stream)
                self._tar.addfile(member, read)  # pyright: ignore[reportArgumentType]
            if read.sha256 != saved.sha256:
                raise _changed(file)
            self._there.add(saved.sha256)
        return saved


class _HashedStream:
    """A stream that hashes its bytes as they are read."""

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
    def __init__(self, place: FilePlace) -> None:
        self.place = place
        self._there = set(place.names(_FOLDER))

    def add(self, file: Path, path: str, *, mode: int = 0) -> SavedFile:
        saved = SavedFile(path, sha256_of(file), file.stat().st_size, mode)
        name = f"{_FOLDER}/{saved.sha256}"
        if name not in self._there:
            self.place.store(name, file)
            if sha256_of(file) != saved.sha256:
                raise _changed(file)
            self._there.add(name)
        return saved


class _TarReader:
    def __init__(self, tar: tarfile.TarFile, place: str) -> None:
        self._tar, self._place = tar, place
        try:
            stream = tar.extractfile(NAME)
            text = stream.read() if stream else b""
        except (KeyError, OSError, tarfile.TarError) as error:
            raise _none_there(place, f"no {NAME} in it") from error
        self.record = BackupRecord.from_json(text, place=place)

    def write(self, saved: SavedFile, into: Path) -> None:
        try:
            stream = self._tar.extractfile(f"{_FOLDER}/{saved.sha256}")
        except (KeyError, tarfile.TarError):
            stream = None
        if stream is None:
            raise _not_whole(self._place, saved)
        with stream:
            _write(stream, saved, into, self._place)


class _ObjectsReader:
    def __init__(self, place: FilePlace) -> None:
        self._place = place
        self._there = set(place.names())
        if NAME not in self._there:
            raise _none_there(place.address, f"no {NAME} under it")
        with place.opened(NAME) as stream:
            self.record = BackupRecord.from_json(stream.read(), place=place.address)

    def write(self, saved: SavedFile, into: Path) -> None:
        name = f"{_FOLDER}/{saved.sha256}"
        if name not in self._there:
            raise _not_whole(self._place.address, saved)
        with self._place.opened(name) as stream:
            _write(stream, saved, into, self._place.address)


def _write(stream: IO[bytes], saved: SavedFile, into: Path, place: str) -> None:
    digest = hashlib.sha256()
    with faults_told(f"write {into}", into.parent):
        into.parent.mkdir(parents=True, exist_ok=True)
        with into.open("wb") as written:
            while block := stream.read(_BLOCK):
                digest.update(block)
                written.write(block)
        if saved.mode:
            into.chmod(saved.mode)
    if digest.hexdigest() != saved.sha256:
        raise _not_whole(place, saved)


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _changed(file: Path) -> TwinError:
    return TwinError(
        f"save {file}", found="it changed meanwhile", next_step="back up again in a moment"
    )


def _none_there(place: str, detail: str) -> TwinError:
    return TwinError(
        f"read the backup {place}",
        found=f"no whole backup ({detail})",
        next_step="name a file or prefix that `twin backup` wrote to its end",
    )


def _not_whole(place: str, saved: SavedFile) -> TwinError:
    return TwinError(
        f"read {saved.path} from the backup {place}",
        found="other bytes than were saved, or none",
        next_step="use another backup; nothing was changed",
    )
