"""List, download and delete objects of the tables' bucket, including old versions.

Scope: objects with all their versions, through boto3.
Out of scope: the contents of objects (`lance_tables.py`), reading tables (Lance does that).
API: https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeletingObjectVersions.html. Deleting an
object of a versioned bucket only adds a marker; its content is deleted only by `VersionId`.
"""
# pyright: strict
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false, reportMissingImports=false
# The lines above are for boto3, which has no types.

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twin_resources.errors import TwinError
from twin_resources.storage.tables.tables import Tables

_MAX_KEYS_PER_REQUEST = 1_000  # the API's maximum
# Lance's option names (https://lance.org/guide/object_store/) → boto3's arguments.
_CLIENT_ARGUMENTS = {
    "endpoint_url": ("aws_endpoint", "AWS_ENDPOINT", "AWS_ENDPOINT_URL"),
    "aws_access_key_id": ("aws_access_key_id", "AWS_ACCESS_KEY_ID"),
    "aws_secret_access_key": ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    "aws_session_token": ("aws_session_token", "AWS_SESSION_TOKEN"),
    "region_name": ("aws_region", "AWS_REGION", "AWS_DEFAULT_REGION"),
}


@dataclass(frozen=True)
class VersionedBucket:
    """The part of a bucket under one prefix, which ends in a slash or is empty."""

    client: Any
    bucket: str
    prefix: str

    def list_folders(self, path: str = "") -> list[str]:
        """Return the names of the folders directly under a path."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self.prefix + path, Delimiter="/"
        )
        return [
            str(item["Prefix"])[len(self.prefix + path) :].rstrip("/")
            for page in pages
            for item in page.get("CommonPrefixes", ())
        ]

    def download(self, folder: str, scratch: Path) -> Iterator[tuple[str, Path]]:
        """Yield every object under a path and all its old versions, one file at a time."""
        for number, item in enumerate(self._versions(folder)):
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
        """Return every object under a path, including those with only old versions."""
        return sorted({item["Key"][len(self.prefix) :] for item in self._versions(path)})

    def remove(self, path: str) -> int:
        """Delete every object under a path with all its versions."""
        return self._delete(list(self._versions(path)))

    def remove_old_versions(self, path: str) -> int:
        """Delete old versions, which a versioned bucket keeps of deleted or replaced objects.

        Raises:
            TwinError: the credentials may not delete versions.
        """
        versions = list(self._versions(path))
        current_keys = {item["Key"] for item in versions if item["IsLatest"] and not item["marker"]}
        return self._delete(
            [item for item in versions if not (item["IsLatest"] and item["Key"] in current_keys)]
        )

    def _versions(self, path: str) -> Iterator[dict[str, Any]]:
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


def find_tables_bucket(tables: Tables) -> VersionedBucket | None:
    """Return the bucket of the tables, or None if they are in a folder.

    Raises:
        TwinError: see `open_bucket`.
    """
    return open_bucket(tables.base_uri, tables.storage_options)


def open_bucket(
    base_uri: str, storage_options: Mapping[str, str] | None = None
) -> VersionedBucket | None:
    """Return the part of a bucket under an address, or None if the address is a folder.

    Args:
        storage_options: options under Lance's names; missing options come from the environment.

    Raises:
        TwinError: the store is not S3, or boto3 is not installed.
    """
    scheme, separator, path = base_uri.partition("://")
    if not separator:
        return None
    if scheme != "s3":
        raise TwinError(
            f"delete in {base_uri}",
            found=f"a store of type {scheme!r}, whose old versions this code cannot list",
            next_step="move the tables to a folder or to s3://",
        )
    try:
        import boto3
    except ImportError as error:
        raise TwinError(
            f"delete in {base_uri}",
            found="boto3 is not installed",
            next_step="run pip install 'llm-twin[aws]'",
        ) from error
    options = {name.lower(): value for name, value in (storage_options or {}).items()}
    arguments: dict[str, str] = {}
    for argument, (name, *variables) in _CLIENT_ARGUMENTS.items():
        values = [options.get(name), *(os.environ.get(variable) for variable in variables)]
        value = next((candidate for candidate in values if candidate), None)
        if value:
            arguments[argument] = value
    bucket, _, prefix = path.partition("/")
    client: Any = boto3.client("s3", **arguments)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return VersionedBucket(client, bucket, f"{prefix.rstrip('/')}/" if prefix else "")
