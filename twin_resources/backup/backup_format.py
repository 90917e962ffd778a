"""Write and read the bytes of a backup, a tar file.

Contents are named by their SHA-256, so equal contents are stored once. The record is written last,
and the file gets its name last, so a backup is either complete or absent.
"""
# pyright: strict

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from twin_resources.backup.backup_record import RECORD_NAME, BackupRecord, SavedFile
from twin_resources.errors import TwinError
from twin_resources.storage.file_store import hash_file
from twin_resources.storage.object_store import is_object_address
from twin_resources.storage.storage_faults import translate_storage_errors

_CONTENTS_FOLDER = "contents"


@dataclass(frozen=True)
class BackupWriter:
    """A target for saved files.

    Attributes:
        store_file: function that stores a file under a name.
        stored_names: names of the stored contents.
    """

    store_file: Callable[[str, Path], object]
    stored_names: set[str]

    def add(self, file: Path, path: str, *, mode: int = 0) -> SavedFile:
        """Save a file, which must not change during the call.

        Args:
            path: the file's path in the record.

        Raises:
            TwinError: the file changed, or there is not enough space.
        """
        saved_file = SavedFile(path, hash_file(file), file.stat().st_size, mode)
        name = f"{_CONTENTS_FOLDER}/{saved_file.sha256}"
        if name not in self.stored_names:
            self.store_file(name, file)
            if hash_file(file) != saved_file.sha256:
                raise TwinError(
                    f"save {file}",
                    found="it changed during the backup",
                    next_step="back up again in a moment",
                )
            self.stored_names.add(name)
        return saved_file

    def finish(self, record: BackupRecord) -> None:
        """Store the record, which completes the backup."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, RECORD_NAME)
            file.write_bytes(record.to_json())
            self.store_file(RECORD_NAME, file)


@dataclass(frozen=True)
class BackupReader:
    """A source of saved files.

    Attributes:
        open_file: function that opens a stored file by its name; KeyError if there is none.
    """

    address: str
    open_file: Callable[[str], AbstractContextManager[IO[bytes]]]

    def read_record(self) -> BackupRecord:
        """Read the record.

        Raises:
            TwinError: the backup is incomplete, or has a newer schema.
        """
        try:
            with self.open_file(RECORD_NAME) as stream:
                text = stream.read()
        except (KeyError, OSError, tarfile.TarError) as error:
            raise _no_backup_error(self.address, f"no {RECORD_NAME} in it") from error
        return BackupRecord.from_json(text, address=self.address)

    def write(self, saved_file: SavedFile, path: Path) -> None:
        """Write the contents of a saved file to a path, and create its folder.

        Raises:
            TwinError: the contents are missing from the backup, or their bytes differ.
        """
        damage_error = TwinError(
            f"read {saved_file.path} from the backup {self.address}",
            found="the bytes differ from the saved ones, or are missing",
            next_step="use another backup; nothing was changed",
        )
        try:
            content = self.open_file(f"{_CONTENTS_FOLDER}/{saved_file.sha256}")
        except (KeyError, tarfile.TarError) as error:
            raise damage_error from error
        with content as stream, translate_storage_errors(f"write {path}", path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as target:
                shutil.copyfileobj(stream, target)
        if hash_file(path) != saved_file.sha256:
            raise damage_error
        if saved_file.mode:
            path.chmod(saved_file.mode)


@contextmanager
def open_backup_writer(address: str) -> Generator[BackupWriter]:
    """Open a writer for a backup, which the `with` block must finish.

    Raises:
        TwinError: a file with that name exists, or the backup cannot be written.
    """
    path = _local_path(address, "write")
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
                yield BackupWriter(partial(_add_to_tar, tar), set())
            _publish(partial_path, path)
    finally:
        partial_path.unlink(missing_ok=True)


def _local_path(address: str, verb: str) -> Path:
    if is_object_address(address):
        raise TwinError(
            f"{verb} the backup {address}",
            found="an address instead of a file",
            next_step="name a file, and copy it with `aws s3 cp`",
        )
    return Path(address).expanduser()


def _add_to_tar(tar: tarfile.TarFile, name: str, file: Path) -> None:
    member = tarfile.TarInfo(name)
    with file.open("rb") as stream:
        member.size = os.fstat(stream.fileno()).st_size
        tar.addfile(member, stream)


def _publish(partial_path: Path, path: Path) -> None:
    """Give a complete backup its name, unless another command has created a file of that name."""
    try:
        path.hardlink_to(partial_path)
    except FileExistsError as error:
        raise _already_exists_error(path) from error
    except OSError:  # the file system has no hard links
        partial_path.rename(path)


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
        TwinError: there is no such file.
    """
    path = _local_path(address, "read")
    try:
        tar = tarfile.open(path, mode="r:")  # noqa: SIM115 - closed below
    except (OSError, tarfile.TarError) as error:
        raise _no_backup_error(address, str(error)) from error
    with tar:
        yield BackupReader(address, partial(_open_in_tar, tar))


def _open_in_tar(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    if (stream := tar.extractfile(name)) is None:
        raise KeyError(name)  # a folder or a link
    return stream


def _no_backup_error(address: str, detail: str) -> TwinError:
    return TwinError(
        f"read the backup {address}",
        found=f"not a complete backup ({detail})",
        next_step="specify a complete backup from `twin backup`",
    )
