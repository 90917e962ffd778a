"""List, read, write and delete the objects under an S3 prefix.

Scope: calls to S3 and their errors.
Out of scope: choosing the objects that are posts (`twin_assets/corpus/importers`), deciding when to
poll (`twin_sensors`).

The environment variables for tables (`AWS_ENDPOINT`, `AWS_REGION`, the usual credentials) suffice.
boto3's own configuration (`AWS_ENDPOINT_URL_S3`, profiles, roles) also works.
API: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html.
"""
# pyright: strict

from __future__ import annotations

import os
import time
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any, cast

from twin_resources.errors import TwinError

SCHEME = "s3://"
_MAX_OBJECTS = 2_000_000
CLIENT_LIFETIME_S = 60  # changed keys in a file take effect after this time


class ObjectChangedError(TwinError):
    """The object was replaced or deleted after it was listed."""


@dataclass(frozen=True)
class StoredObject:
    """One object under a prefix.

    Attributes:
        name: the key without the prefix, with `/` between parts.
        key: the whole key.
        size: the size in bytes.
        etag: an opaque string that changes with the object's bytes; not always their MD5 hash.
        modified: the time of the last change, in seconds since the epoch.
    """

    name: str
    key: str
    size: int
    etag: str
    modified: float


def is_object_address(source: object) -> bool:
    """Return whether a source is an S3 address, also in `pathlib`'s form (`s3:/bucket/key`)."""
    return str(source).startswith("s3:/")


def normalize_address(source: object) -> str:
    """Return the address in its usual form, `s3://bucket/prefix`, without a trailing slash."""
    return SCHEME + str(source).removeprefix("s3:").strip("/")


def split_address(source: object) -> tuple[str, str]:
    """Split an address into its bucket and prefix, which has no trailing slash.

    Raises:
        TwinError: the address contains no bucket name.
    """
    bucket, _, prefix = normalize_address(source).removeprefix(SCHEME).partition("/")
    if not bucket:
        raise TwinError(
            f"read {source}", found="no bucket name", next_step="specify s3://BUCKET[/PREFIX]"
        )
    return bucket, prefix


def list_objects(source: object) -> tuple[StoredObject, ...]:
    """List every object under the prefix, by name, with 1,000 objects per request.

    `s3://b/posts` includes the objects in the folder `posts/`, but not `posts-of-another/…`. The
    address may also be that of a single object.

    Raises:
        TwinError: the prefix cannot be listed, or has more than two million objects.
    """
    bucket, prefix = split_address(source)
    objects: list[StoredObject] = []
    with _translate_s3_errors(f"list {normalize_address(source)}"):
        pages = s3_client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            for entry in page.get("Contents", ()):
                stored_object = _parse_listing_entry(entry, prefix)
                if stored_object is not None:
                    objects.append(stored_object)
            if len(objects) > _MAX_OBJECTS:
                raise TwinError(
                    f"list {normalize_address(source)}",
                    found=f"more than {_MAX_OBJECTS:,} objects",
                    next_step="specify the prefix that contains the posts",
                )
    return tuple(sorted(objects, key=lambda stored_object: stored_object.name))


def list_folders(source: object) -> list[str]:
    """List the names directly under the prefix that have objects below them, sorted.

    Raises:
        TwinError: the prefix cannot be listed.
    """
    bucket, prefix = split_address(source)
    folder_prefix = f"{prefix}/" if prefix else ""
    with _translate_s3_errors(f"list {normalize_address(source)}"):
        paginator = s3_client().get_paginator("list_objects_v2")
        pages = paginator.paginate(Bucket=bucket, Prefix=folder_prefix, Delimiter="/")
        entries = [entry for page in pages for entry in page.get("CommonPrefixes", ())]
    return sorted(str(entry["Prefix"])[len(folder_prefix) :].rstrip("/") for entry in entries)


def _parse_listing_entry(entry: dict[str, Any], prefix: str) -> StoredObject | None:
    key = str(entry["Key"])
    if key == prefix:
        name = key.rsplit("/", 1)[-1]
    elif not prefix or key.startswith(prefix + "/"):
        name = key[len(prefix) :].lstrip("/")
    else:
        return None
    if not name or name.endswith("/"):
        return None  # an empty object that S3 consoles create to represent a folder
    return StoredObject(
        name=name,
        key=key,
        size=int(entry["Size"]),
        etag=str(entry["ETag"]).strip('"'),
        modified=cast("float", entry["LastModified"].timestamp()),
    )


@contextmanager
def open_object(source: object, stored: StoredObject) -> Generator[IO[bytes]]:
    """Open the bytes of an object in its listed state.

    Raises:
        ObjectChangedError: the object was replaced or deleted.
        TwinError: the object cannot be read.
    """
    bucket, _ = split_address(source)
    action = f"read s3://{bucket}/{stored.key}"
    with _translate_s3_errors(action):
        response = s3_client().get_object(Bucket=bucket, Key=stored.key, IfMatch=stored.etag)
        with closing(response["Body"]) as body:
            yield cast("IO[bytes]", body)


def read_object(source: object, stored: StoredObject) -> bytes:
    """Read all bytes of an object in its listed state. The caller checks `size` first.

    Raises:
        TwinError: as in `open_object`.
    """
    with open_object(source, stored) as body:
        return body.read()


def write_object(address: object, file: Path) -> None:
    """Store a file as the object at this address, in parts if it is large.

    Raises:
        TwinError: the bucket does not exist or is not writable.
    """
    bucket, key = split_address(address)
    with _translate_s3_errors(f"write {normalize_address(address)}"):
        s3_client().upload_file(str(file), bucket, key)


def remove_objects(address: object) -> None:
    """Delete the object at this address and all below it; a versioned bucket keeps their bytes.

    Raises:
        TwinError: the objects cannot be listed or deleted.
    """
    bucket, _ = split_address(address)
    objects = list_objects(address)
    with _translate_s3_errors(f"delete {normalize_address(address)}"):
        for stored_object in objects:
            s3_client().delete_object(Bucket=bucket, Key=stored_object.key)


@contextmanager
def _translate_s3_errors(action: str) -> Generator[None]:
    botocore_errors: Any = import_module("botocore.exceptions")
    boto3_errors: Any = import_module("boto3.exceptions")
    try:
        yield
    except botocore_errors.ClientError as error:
        response = cast("dict[str, Any]", error.response)
        code = str(response.get("Error", {}).get("Code", ""))
        if code in {"PreconditionFailed", "412", "NoSuchKey"}:
            raise ObjectChangedError(
                action,
                found="it has changed since it was listed",
                next_step="run the command again",
            ) from error
        raise TwinError(
            action,
            found=f"S3 returned {code or error}",
            next_step="check the bucket's name, the region and the credentials' permissions",
        ) from error
    except (botocore_errors.BotoCoreError, boto3_errors.Boto3Error) as error:
        raise TwinError(
            action,
            found=" ".join(str(error).split()),
            next_step="check AWS_ENDPOINT, the credentials and the network",
        ) from error


def probe_prefix(source: object, *, timeout_s: float) -> None:
    """Check by one listing request that the prefix can be listed.

    Args:
        timeout_s: time limit for connecting and for the response; there are no retries.

    Raises:
        TwinError: the bucket does not exist or cannot be listed, or the server does not respond.
    """
    bucket, prefix = split_address(source)
    with _translate_s3_errors(f"list {normalize_address(source)}"):
        client = s3_client(connect_s=timeout_s, read_s=timeout_s, retries=0)
        client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)


def endpoint_from_environment(environ: Mapping[str, str]) -> str:
    """Return the address of the server configured instead of AWS, or an empty string."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    return next((environ[name] for name in names if environ.get(name)), "")


def s3_client(*, connect_s: float = 10, read_s: float = 30, retries: int = 3) -> Any:
    """Return boto3's client for the environment's server and credentials.

    Raises:
        TwinError: boto3 is not installed.
    """
    aws_environment = tuple(
        sorted(variable for variable in os.environ.items() if variable[0].startswith("AWS_"))
    )
    return _cached_client(
        aws_environment, int(time.monotonic() // CLIENT_LIFETIME_S), connect_s, read_s, retries
    )


@lru_cache(maxsize=4)
def _cached_client(
    _environment: tuple[tuple[str, str], ...],
    _cache_period: int,
    connect_s: float,
    read_s: float,
    retries: int,
) -> Any:
    """Return a client for this environment, cached for a while with its connections.

    A new client reads boto3's description of the service, which takes 0.1 CPU s, and opens new
    connections. An import reads objects one by one.
    """
    try:
        boto3: Any = import_module("boto3")
    except ImportError as error:
        raise TwinError(
            "open a bucket",
            found="boto3 is not installed",
            next_step="run pip install 'llm-twin[aws]'",
        ) from error
    configuration: Any = import_module("botocore.config")
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint_from_environment(os.environ) or None,
        region_name=os.environ.get("AWS_REGION") or None,
        config=configuration.Config(
            connect_timeout=connect_s,
            read_timeout=read_s,
            retries={"mode": "standard", "max_attempts": retries},
        ),
    )
