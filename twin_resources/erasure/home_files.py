"""Erase from the store `files`: every file under the home that no other store claims.

Scope: author files, progress, logs, reports, plots, training jobs, and files that later versions of
this project may write there. Out of scope: tables, checkpoints, Dagster's records and the three
SQLite stores, which are separate stores; prepared weights, which contain no posts; an author's
import sources, which are the author's own copy (`manual_steps.py` lists them).

Matching lines are removed from a log, matching entries from a JSON document, and matching rows from
a SQLite file. A matching training job is deleted with its folder. Any other matching file is
deleted; reports are rebuilt later.
"""
# pyright: strict

from __future__ import annotations

import json
import os
import re
import shutil
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from twin_resources.atomic_writes import replace_file
from twin_resources.authors import list_author_slugs, list_readable_authors
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.decoding import find_in_file
from twin_resources.erasure.erasure_target import ErasureTarget
from twin_resources.erasure.sqlite_files import (
    delete_matching_rows,
    open_for_erasure,
    rewrite_database,
)

FORGETTING_FOLDER = "forgetting"  # fingerprints of open requests, and certificates: only hashes
_STORE_FILES = ("state.sqlite", "host/outbox.sqlite", "traces.sqlite")
_LINE_FILE_SUFFIXES = (".log", ".txt", ".out", ".err", ".conf", ".yaml", ".yml", ".env", ".jsonl")
_SQLITE = b"SQLite format 3\x00"
_QUOTED_PATH = re.compile(r"""["'](/[^"'\n]+)["']""")


@dataclass(frozen=True)
class HomeFiles:
    """All unclaimed files under the home."""

    installation: Installation
    name: str = "files"

    def erase(self, target: ErasureTarget) -> int:
        """See `DataStore.erase`."""
        erased_count = 0
        for path in list(self.find_paths_named_after_author(target)):
            erased_count += _remove_path(path)
        for path in self.list_unclaimed_files():
            if not find_in_file(path, target):
                continue
            training_folder = self._find_training_folder(path)
            if training_folder is not None:
                erased_count += _remove_path(training_folder)
            else:
                _clean_file(path, target)
                erased_count += 1
        return erased_count

    def find_remaining(self, target: ErasureTarget) -> list[str]:
        """See `DataStore.find_remaining`."""
        home = self.installation.settings.home
        locations = [
            f"{path.relative_to(home).parent}/… is named after the author"
            for path in self.find_paths_named_after_author(target)
        ]
        for path in self.list_unclaimed_files():
            name = path.relative_to(home)
            locations += [f"{name}: {location}" for location in find_in_file(path, target)]
        return locations

    def list_unclaimed_files(self) -> Iterator[Path]:
        """Yield the files that no other store claims; skip files that no longer exist."""
        for folder, _, files in self._walk():
            for name in sorted(files):
                path = folder / name
                own_name = path.relative_to(self.installation.settings.home).as_posix()
                is_store = own_name.startswith(_STORE_FILES)
                if not is_store and path.is_file() and not path.is_symlink():
                    yield path

    def find_paths_named_after_author(self, target: ErasureTarget) -> Iterator[Path]:
        """Yield files and folders named after the author."""
        if not target.is_whole_author:
            return
        for folder, subfolders, files in self._walk():
            matching_names = [
                name for name in (*subfolders, *files) if target.matches_text(Path(name).stem)
            ]
            yield from (folder / name for name in matching_names if (folder / name).exists())
            # The caller removes a matching folder with its contents.
            subfolders[:] = [name for name in subfolders if name not in matching_names]

    def _walk(self) -> Iterator[tuple[Path, list[str], list[str]]]:
        """Walk the home as `os.walk` does, without the folders that other stores claim."""
        claimed_paths = self._list_claimed_paths()
        for folder, subfolders, files in os.walk(self.installation.settings.home):
            path = Path(folder)
            subfolders[:] = sorted(name for name in subfolders if path / name not in claimed_paths)
            yield path, subfolders, files

    def _list_claimed_paths(self) -> set[Path]:
        settings = self.installation.settings
        claimed_paths = {
            settings.weights_dir,
            settings.checkpoints_dir,
            settings.home / "dagster",
            settings.home / FORGETTING_FOLDER,
        }
        if "://" not in settings.tables_base:
            claimed_paths.add(Path(settings.tables_base))
        authors, _ = list_readable_authors(settings)
        claimed_paths |= {Path(source) for author in authors for source in author.sources}
        for slug in set(list_author_slugs(settings)) - {author.slug for author in authors}:
            # An invalid file still names its sources, and a source is never changed.
            file = settings.authors_dir / f"{slug}.toml"
            text = file.read_text("utf-8", errors="replace") if file.is_file() else ""
            claimed_paths |= {Path(path) for path in _QUOTED_PATH.findall(text)}
        return claimed_paths

    def _find_training_folder(self, path: Path) -> Path | None:
        """Return the folder `work/training/<name>` that contains a file, or None."""
        base = self.installation.settings.work_dir / "training"
        if not path.is_relative_to(base):
            return None
        return base / path.relative_to(base).parts[0]


def _remove_path(path: Path) -> int:
    """Delete a file, or a folder with its contents; return the number of deleted files."""
    if path.is_dir() and not path.is_symlink():
        count = sum(file.is_file() for file in path.rglob("*"))
        shutil.rmtree(path)
        return count
    path.unlink(missing_ok=True)
    return 1


def _clean_file(path: Path, target: ErasureTarget) -> None:
    with path.open("rb") as stream:
        head = stream.read(len(_SQLITE))
    if head == _SQLITE:
        _clean_sqlite(path, target)
    elif path.suffix == ".json":
        _clean_json(path, target)
    elif path.suffix in _LINE_FILE_SUFFIXES:
        _clean_lines(path, target)
    else:
        path.unlink()


def _clean_sqlite(path: Path, target: ErasureTarget) -> None:
    with open_for_erasure(path) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in names:
            delete_matching_rows(connection, table, target)
    rewrite_database(path)


def _clean_lines(path: Path, target: ErasureTarget) -> None:
    """Clean a log in place, because its writer keeps the file open.

    If a run of words crosses lines, all lines that contain a part of it are removed.
    """
    with path.open("r+b") as stream:
        lines = stream.read().decode("utf-8", errors="replace").splitlines(keepends=True)
        remaining_lines = list(_remove_matching_lines(lines, target))
        stream.seek(0)
        stream.write("".join(remaining_lines).encode())
        stream.truncate()


def _remove_matching_lines(lines: Iterable[str], target: ErasureTarget) -> list[str]:
    remaining_lines = [line for line in lines if not target.matches_text(line)]
    # A match may cross lines, so remove the smallest spans that contain a match.
    while target.matches_text("".join(remaining_lines)):
        span = _find_smallest_matching_span(remaining_lines, target)
        remaining_lines = remaining_lines[: span[0]] + remaining_lines[span[1] :]
    return remaining_lines


def _find_smallest_matching_span(lines: list[str], target: ErasureTarget) -> tuple[int, int]:
    """Return the first span of lines that contains the target and cannot shrink at either end."""

    def matches(begin: int, end: int) -> bool:
        return target.matches_text("".join(lines[begin:end]))

    # Find the shortest prefix that contains the target, then the shortest suffix of this prefix.
    end = 1 + bisect_left(range(1, len(lines)), True, key=lambda end: matches(0, end))
    return bisect_left(range(1, end), True, key=lambda begin: not matches(begin, end)), end


def _clean_json(path: Path, target: ErasureTarget) -> None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        path.unlink()  # a truncated document is useless
        return
    remaining_document = _prune_document(document, target)
    if remaining_document is _REMOVED:
        remaining_document = {}
    replace_file(path, json.dumps(remaining_document, indent=2, ensure_ascii=False) + "\n")


_REMOVED = object()


def _prune_document(value: Any, target: ErasureTarget) -> Any:
    if isinstance(value, str):
        return _REMOVED if target.matches_value(value) else value
    if isinstance(value, list):
        parts = [_prune_document(item, target) for item in cast("list[Any]", value)]
        return [part for part in parts if part is not _REMOVED]
    if isinstance(value, Mapping):
        entries = cast("Mapping[str, Any]", value)
        pruned_entries = {
            name: _prune_document(item, target)
            for name, item in entries.items()
            if not target.matches_value(name)
        }
        return {name: item for name, item in pruned_entries.items() if item is not _REMOVED}
    return value
