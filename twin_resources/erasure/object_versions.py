"""List, download and delete the files of a folder, or the objects of a bucket in all versions.

Scope: the same methods for both; objects with all their versions, through boto3.
Out of scope: the contents of objects (`lance_tables.py`), reading tables (Lance does that).
API: https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeletingObjectVersions.html. Deleting an
object of a versioned bucket only adds a marker. Its content must be deleted by `VersionId`.
"""
# pyright: strict

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twin_resources.errors import TwinError
from twin_resources.storage.object_store import SCHEME, list_folders, s3_client, split_address

_MAX_KEYS_PER_REQUEST = 1_000  # the API's maximum


@dataclass(frozen=True)
class VersionedBucket:
    """The part of a bucket under one prefix, which ends in a slash or is empty."""

    client: Any
    bucket: str
    prefix: str

    def list_folders(self, path: str = "") -> list[str]:
        """Return the names of the folders directly under a path."""
        return list_folders(f"{SCHEME}{self.bucket}/{self.prefix}{path}")

    def download(self, folder: str, scratch: Path) -> Iterator[tuple[str, Path]]:
        """Yield the name and a file of every object and old version under a path, one at a time."""
        for number, item in enumerate(self._iter_versions(folder)):
            if item["marker"]:
                continue
            path = scratch / f"{number}-{Path(item['Key']).name}"
            extra_args = {"VersionId": item["VersionId"]} if item["VersionId"] != "null" else {}
            self.client.download_file(
                self.bucket, item["Key"], str(path), ExtraArgs=extra_args or None
            )
            object_name = item["Key"][len(self.prefix) :]
            yield f"{object_name}{'' if item['IsLatest'] else ' (an old version)'}", path
            path.unlink()

    def list_objects(self, path: str) -> list[str]:
        """Return the name of every object under a path, even if it has only old versions."""
        return sorted({item["Key"][len(self.prefix) :] for item in self._iter_versions(path)})

    def remove(self, path: str) -> int:
        """Delete every object under a path with all its versions; return the number of versions."""
        return self._delete(list(self._iter_versions(path)))

    def remove_old_versions(self, path: str) -> int:
        """Delete the old versions that a versioned bucket keeps; return their number.

        Raises:
            TwinError: the credentials do not permit deleting versions.
        """
        versions = list(self._iter_versions(path))
        current_keys = {item["Key"] for item in versions if item["IsLatest"] and not item["marker"]}
        return self._delete(
            [item for item in versions if not (item["IsLatest"] and item["Key"] in current_keys)]
        )

    def _iter_versions(self, path: str) -> Iterator[dict[str, Any]]:
        pages = self.client.get_paginator("list_object_versions").paginate(
            Bucket=self.bucket, Prefix=self.prefix + path
        )
        for page in pages:
            for name, marker in (("Versions", False), ("DeleteMarkers", True)):
                for item in page.get(name, ()):
                    yield {
                        "Key": str(item["Key"]),
                        "VersionId": str(item["VersionId"]),
                        "IsLatest": bool(item["IsLatest"]),
                        "marker": marker,
                    }

    def _delete(self, versions: list[dict[str, Any]]) -> int:
        for start in range(0, len(versions), _MAX_KEYS_PER_REQUEST):
            batch = versions[start : start + _MAX_KEYS_PER_REQUEST]
            objects = [{name: item[name] for name in ("Key", "VersionId")} for item in batch]
            response: Mapping[str, Any] = self.client.delete_objects(
                Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True}
            )
            errors = response.get("Errors", ())
            if errors:
                raise TwinError(
                    f"delete {len(batch)} object versions in s3://{self.bucket}/{self.prefix}",
                    found=f"{errors[0].get('Code')} for {len(errors)} of them",
                    next_step="grant these credentials s3:DeleteObjectVersion, then run "
                    "`twin forget` again: it continues from here",
                )
        return len(versions)


@dataclass(frozen=True)
class LocalFolder:
    """A local folder, with the methods of `VersionedBucket`; its files have no old versions."""

    base: Path

    def list_folders(self, path: str = "") -> list[str]:
        """Return the names of the folders directly under a path."""
        return [entry.name for entry in (self.base / path).glob("*/")]

    def download(self, folder: str, scratch: Path) -> Iterator[tuple[str, Path]]:
        """Yield the name and the path of every file under a path."""
        del scratch  # the files are read where they are
        yield from ((name, self.base / name) for name in self.list_objects(folder))

    def list_objects(self, path: str) -> list[str]:
        """Return the name of every file under a path."""
        files = (file for file in (self.base / path).rglob("*") if file.is_file())
        return sorted(file.relative_to(self.base).as_posix() for file in files)

    def remove(self, path: str) -> int:
        """Delete a folder; return the number of its files."""
        count = len(self.list_objects(path))
        shutil.rmtree(self.base / path)
        return count

    def remove_old_versions(self, path: str) -> int:
        """Do nothing and return 0, because a folder keeps no old versions."""
        del path
        return 0


def open_storage(address: str) -> VersionedBucket | LocalFolder:
    """Return the folder or the part of a bucket at an address.

    Raises:
        TwinError: the store is neither a folder nor S3, or boto3 is not installed.
    """
    scheme, separator, _ = address.partition("://")
    if not separator:
        return LocalFolder(Path(address))
    if scheme != "s3":
        raise TwinError(
            f"delete in {address}",
            found=f"a store of type {scheme!r}, whose old versions this code cannot list",
            next_step="move the tables to a folder or to s3://",
        )
    bucket, prefix = split_address(address)
    return VersionedBucket(s3_client(), bucket, f"{prefix}/" if prefix else "")
