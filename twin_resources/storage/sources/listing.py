"""List a source's files with a version stamp each, to detect added, changed and deleted files.

Scope: listing folders, files and S3 prefixes without reading their content.
Out of scope: which files are posts (`twin_assets`), feeds (`polling`), decisions
(`import_decisions`).

A stamp consists of the size and the modification time; for an S3 object, it is the ETag. The
nightly import reads everything, so it also finds a file that changed without a new stamp.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from twin_resources.errors import TwinError
from twin_resources.storage.object_store import (
    is_object_address,
    list_objects,
    normalize_address,
    split_address,
)

_MEDIA_SUFFIX = re.compile(
    r"\.(?:png|jpe?g|gif|webp|avif|svg|ico|bmp|heic|mp[34]|m4[av]|mov|webm|og[gv]|wav|woff2?"
    r"|ttf|otf|eot|css|scss)$",
    re.IGNORECASE,
)
# Tools write to these folders frequently. They never contain posts.
_IGNORED_FOLDERS = frozenset({"node_modules", "__pycache__", "_site", "venv", "site-packages"})
# In .git, only the files that a commit updates are listed; the objects add no information.
_GIT_FILES = ("HEAD", "packed-refs", "logs/HEAD")

SOURCES_FINGERPRINT_KEY = "sources_mark"
"""Metadata key of `raw_posts`; its value is the fingerprint of the sources that an import read."""


class SourceNotFoundError(TwinError):
    """The source is missing or empty, for example because its disk is not mounted.

    The author's stored posts are not deleted.
    """


@dataclass(frozen=True)
class ListedFile:
    """One file of a source.

    Attributes:
        name: the absolute path (see `display_path`), or `s3://bucket/key`.
        stamp: size and modification time, or ETag.
    """

    name: str
    stamp: str


@dataclass(frozen=True)
class Listing:
    """The current files of one source: at least one entry, sorted by name."""

    source: str
    entries: tuple[ListedFile, ...]


def is_feed(source: str) -> bool:
    """Return whether a source is read over HTTP, and therefore polled (`polling`), not listed."""
    return source.lower().startswith(("http://", "https://"))


def list_source(source: str) -> Listing:
    """List a folder, a file or an S3 prefix.

    Raises:
        SourceNotFoundError: the source does not exist or has no file.
        TwinError: the source or a folder in it cannot be listed.
    """
    if is_object_address(source):
        address, entries = normalize_address(source), list(_list_object_files(source))
    else:
        root = Path(source).expanduser().resolve()
        address, entries = (
            display_path(root),
            list(_list_local_files(root, action=f"list {source}")),
        )
    if not entries:
        raise SourceNotFoundError(
            f"list {source}",
            found="no files",
            next_step="mount it, or remove it from the author's sources",
        )
    return Listing(address, tuple(sorted(entries, key=lambda entry: entry.name)))


def fingerprint(listings: Sequence[Listing]) -> str:
    """Return a hash that changes when any file of the sources is added, changed or deleted."""
    digest = hashlib.sha256()
    for listing in listings:
        digest.update(f"{listing.source}\0".encode())
        for entry in listing.entries:
            digest.update(f"{entry.name}\0{entry.stamp}\0".encode())
    return digest.hexdigest()


def short_fingerprint(listings: Sequence[Listing]) -> str:
    """Return the first 32 digits of the fingerprint, which are stored; empty without listings."""
    return fingerprint(listings)[:32] if listings else ""


def fingerprint_sources(sources: Iterable[str]) -> str:
    """Return the fingerprint of an author's folders, files and S3 prefixes as they are now.

    It is empty if one of them cannot be listed, so that no check treats it as already imported.
    """
    try:
        return short_fingerprint([list_source(source) for source in sources if not is_feed(source)])
    except TwinError:  # the import that reads the sources reports it
        return ""


def _list_object_files(source: str) -> Iterator[ListedFile]:
    bucket, _ = split_address(source)
    for stored_object in list_objects(source):
        if not _is_ignored(stored_object.name):
            yield ListedFile(f"s3://{bucket}/{stored_object.key}", stored_object.etag)


def _is_ignored(name: str) -> bool:
    *folders, file_name = name.split("/")
    is_hidden = any(part.startswith(".") for part in (*folders, file_name))
    return (
        is_hidden
        or not _IGNORED_FOLDERS.isdisjoint(folders)
        or bool(_MEDIA_SUFFIX.search(file_name))
    )


def _list_local_files(root: Path, *, action: str) -> Iterator[ListedFile]:
    try:
        status = root.stat()
    except FileNotFoundError as error:
        raise SourceNotFoundError(
            action, found="no file or folder at this path", next_step="mount it or choose another"
        ) from error
    except OSError as error:
        raise _listing_error(action, error) from error
    if not stat.S_ISDIR(status.st_mode):
        yield _build_listed_file(str(root), status)
        return
    pending_folders = [str(root)]
    while pending_folders:
        try:
            with os.scandir(pending_folders.pop()) as entries:
                for entry in entries:
                    yield from _visit_entry(entry, pending_folders)
        except OSError as error:
            raise _listing_error(action, error) from error
    for git_file in _GIT_FILES:
        file = root / ".git" / git_file
        if file.is_file():
            yield _build_listed_file(str(file), file.stat())


def _visit_entry(entry: os.DirEntry[str], pending_folders: list[str]) -> Iterator[ListedFile]:
    if entry.name.startswith("."):
        return
    if entry.is_dir(follow_symlinks=False):
        if entry.name not in _IGNORED_FOLDERS:
            pending_folders.append(entry.path)
    elif not _MEDIA_SUFFIX.search(entry.name):
        try:
            yield _build_listed_file(entry.path, entry.stat(follow_symlinks=False))
        except FileNotFoundError:
            return  # deleted after it was listed; the next tick's list shows it


def _build_listed_file(path: str, status: os.stat_result) -> ListedFile:
    stamp = f"{status.st_size}:{status.st_mtime_ns}"
    return ListedFile(display_path(path), stamp)


def display_path(path: Path | str) -> str:
    """Return a path as text that can be stored; bytes that are not UTF-8 become `\\xNN`."""
    text = os.fspath(path)
    return text if text.isascii() else os.fsencode(text).decode("utf-8", "backslashreplace")


def _listing_error(action: str, error: OSError) -> TwinError:
    return TwinError(
        action,
        found=f"{error.filename or 'it'} cannot be listed ({error.strerror})",
        next_step="give this user read permission",
    )
