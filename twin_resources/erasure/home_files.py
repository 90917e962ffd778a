"""The store `files`: erase from every file under the home that no other store claims.

Scope: author files, progress, logs, reports, plots, training jobs, and anything a later version of
this project writes there. Out of scope: tables, checkpoints, Dagster's records and the three SQLite
stores, which are stores of their own; prepared weights, which come from elsewhere; an author's
import sources, which are the author's own copy (`manual_steps.py` lists them).

Matching lines are removed from a log, matching entries from a JSON document, and matching rows from
a SQLite file. A training's job folder is deleted whole, as is any other file; reports are rebuilt.
"""
# pyright: strict

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from twin_resources.atomic_writes import replace_file
from twin_resources.authors import list_authors
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.decoding import held_in
from twin_resources.erasure.erasure_target import ErasureTarget
from twin_resources.erasure.sqlite_files import delete_holding, opened, rewrite

FOLDER = "forgetting"  # fingerprints of open requests, and certificates: only hashes
_STORES = ("state.sqlite", "outbox.sqlite", "traces.sqlite")
_LINES = (".log", ".txt", ".out", ".err", ".conf", ".yaml", ".yml", ".env", ".jsonl")
_SQLITE = b"SQLite format 3\x00"


@dataclass(frozen=True)
class HomeFiles:
    """All unclaimed files under the home."""

    instance: Installation
    name: str = "files"

    def erase(self, gone: ErasureTarget) -> int:
        """See `DataStore.erase`."""
        erased = 0
        for path in list(self.named(gone)):
            erased += _remove(path)
        for path in self.files():
            if held_in(path, gone) is None:
                continue
            job = self._job_of(path)
            if job is not None:
                erased += _remove(job)
            else:
                _clean(path, gone)
                erased += 1
        return erased

    def holds(self, gone: ErasureTarget) -> list[str]:
        """See `DataStore.holds`."""
        home = self.instance.settings.home
        places = [
            f"{path.relative_to(home).parent}/… is named after it" for path in self.named(gone)
        ]
        for path in self.files():
            where = held_in(path, gone)
            if where is not None:
                places.append(f"{path.relative_to(home)}: {where}")
        return places

    def files(self) -> Iterator[Path]:
        """Yield the files that no other store claims; skip files that vanish meanwhile."""
        home, claimed = self.instance.settings.home, self._claimed()
        for folder, names, files in os.walk(home):
            here = Path(folder)
            names[:] = sorted(name for name in names if here / name not in claimed)
            for name in sorted(files):
                path = here / name
                is_store = here == home and name.startswith(_STORES)
                if not is_store and path.is_file() and not path.is_symlink():
                    yield path

    def named(self, gone: ErasureTarget) -> Iterator[Path]:
        """Yield files and folders named after the author."""
        if not gone.whole_author:
            return
        claimed = self._claimed()
        for folder, names, files in os.walk(self.instance.settings.home):
            here = Path(folder)
            names[:] = [name for name in names if here / name not in claimed]
            named = [name for name in (*names, *files) if gone.is_in(Path(name).stem)]
            yield from (here / name for name in named if (here / name).exists())
            names[:] = [name for name in names if name not in named]  # the whole folder is removed

    def _claimed(self) -> set[Path]:
        settings = self.instance.settings
        claimed = {
            settings.weights_dir,
            settings.checkpoints_dir,
            settings.home / "dagster",
            settings.home / FOLDER,
        }
        if "://" not in settings.tables_base:
            claimed.add(Path(settings.tables_base))
        for author in list_authors(settings):
            claimed |= {Path(source) for source in author.sources}
        return claimed

    def _job_of(self, path: Path) -> Path | None:
        """Return the training folder that contains a file, `work/training/<name>`."""
        jobs = self.instance.settings.work_dir / "training"
        if not path.is_relative_to(jobs):
            return None
        return jobs / path.relative_to(jobs).parts[0]


def _remove(path: Path) -> int:
    if path.is_dir() and not path.is_symlink():
        count = sum(inner.is_file() for inner in path.rglob("*"))
        shutil.rmtree(path)
        return count
    path.unlink(missing_ok=True)
    return 1


def _clean(path: Path, gone: ErasureTarget) -> None:
    with path.open("rb") as stream:
        head = stream.read(len(_SQLITE))
    if head == _SQLITE:
        _clean_sqlite(path, gone)
    elif path.suffix == ".json":
        _clean_json(path, gone)
    elif path.suffix in _LINES:
        _clean_lines(path, gone)
    else:
        path.unlink()


def _clean_sqlite(path: Path, gone: ErasureTarget) -> None:
    with opened(path) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in names:
            delete_holding(connection, table, gone)
    rewrite(path)


def _clean_lines(path: Path, gone: ErasureTarget) -> None:
    """Clean a log in place, because its writer keeps the file open.

    A run of words may cross lines; neighbouring lines that hold it together are all removed.
    """
    with path.open("r+b") as stream:
        lines = stream.read().decode("utf-8", errors="replace").splitlines(keepends=True)
        lines_left = list(_lines_without(lines, gone))
        stream.seek(0)
        stream.write("".join(lines_left).encode())
        stream.truncate()


def _lines_without(lines: Iterable[str], gone: ErasureTarget) -> list[str]:
    lines_left = [line for line in lines if not gone.is_in(line)]
    while gone.is_in(
        "".join(lines_left)
    ):  # across lines: halve until only the lines that hold it are left
        span = _smallest(lines_left, gone)
        lines_left = lines_left[: span[0]] + lines_left[span[1] :]
    return lines_left


def _smallest(lines: list[str], gone: ErasureTarget) -> tuple[int, int]:
    """Return the first span of lines that holds the target and cannot shrink at either end."""
    low, high = 1, len(lines)
    while low < high:  # find the shortest prefix that holds it
        middle = (low + high) // 2
        if gone.is_in("".join(lines[:middle])):
            high = middle
        else:
            low = middle + 1
    last = low
    low, high = 0, last - 1
    while low < high:  # then the last start line that still does
        middle = (low + high + 1) // 2
        if gone.is_in("".join(lines[middle:last])):
            low = middle
        else:
            high = middle - 1
    return low, last


def _clean_json(path: Path, gone: ErasureTarget) -> None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        path.unlink()  # a truncated document is useless
        return
    left = _without(document, gone)
    replace_file(path, json.dumps(left, indent=2, ensure_ascii=False) + "\n")


_GONE = object()


def _without(value: Any, gone: ErasureTarget) -> Any:
    left = _pruned(value, gone)
    return {} if left is _GONE else left


def _pruned(value: Any, gone: ErasureTarget) -> Any:
    if isinstance(value, str):
        return _GONE if gone.is_among(value) else value
    if isinstance(value, list):
        parts = [_pruned(one, gone) for one in cast("list[Any]", value)]
        return [part for part in parts if part is not _GONE]
    if isinstance(value, Mapping):
        entries = cast("Mapping[str, Any]", value)
        pruned = {
            name: _pruned(one, gone) for name, one in entries.items() if not gone.is_among(name)
        }
        return {name: one for name, one in pruned.items() if one is not _GONE}
    return value
