"""`twin logs`: what a program of the stack has written, its end or as it is written.

Belongs here: finding a program's log, its last lines, following it through a rotation.
Does not belong here: writing and rotating it (`processes/supervisor.py`), a run's log (Dagster's
UI).
"""
# pyright: strict

from __future__ import annotations

import codecs
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from twin_resources.errors import TwinError
from twin_resources.settings import Settings

POLL_S = 0.3
BLOCK = 65_536  # bytes read at once, from the end backwards


def run_logs(
    settings: Settings,
    program: str,
    *,
    lines: int,
    follow: bool,
    write: Callable[[str], object],
) -> int:
    """Print the end of a log, or with no program which there are; returns the exit code.

    Args:
        lines: at most so many, from the end.
        follow: go on until Ctrl-C, as `tail -F` does.

    Raises:
        TwinError: there is no such log, or nothing has run here yet.
    """
    logs = logs_of(settings)
    if not program:
        if follow:
            raise TwinError(
                "follow a log", found="no program is named", next_step=f"name one: {_named(logs)}"
            )
        for name, path in logs.items():
            facts = path.stat()
            age = max(0.0, time.time() - facts.st_mtime)
            write(f"{name:<20} {facts.st_size / 1000:>9,.0f} KB  written {_ago(age)}\n")
        write("a training's log is its run's, in Dagster: `twin open dagster`\n")
        return 0
    path = logs.get(program)
    if path is None:
        raise TwinError(
            f"show the log of {program!r}",
            found=f"logs of {_named(logs)} in {settings.logs_dir}",
            next_step="name one of them",
        )
    try:
        text, place = last_lines(path, lines)
        write(text)
        if follow:
            for more in following(path, place):
                write(more)
    except KeyboardInterrupt:
        return 130  # the only way to end it: nothing to be said
    return 0


def logs_of(settings: Settings) -> dict[str, Path]:
    """Program → its log, by name.

    Raises:
        TwinError: nothing has run in this home.
    """
    logs = {path.stem: path for path in sorted(settings.logs_dir.glob("*.log"))}
    if not logs:
        raise TwinError(
            "find the logs",
            found=f"no log in {settings.logs_dir}",
            next_step="start the stack with `twin up`, or name its home with --home",
        )
    return logs


def last_lines(path: Path, lines: int) -> tuple[str, int]:
    """The last lines of a log, and the place behind them, in bytes."""
    with path.open("rb") as stream:
        end = start = stream.seek(0, os.SEEK_END)
        text = b""
        # one line break more than lines: what stands before the first may be half a line
        while start > 0 and text.count(b"\n") <= lines:
            size = min(BLOCK, start)
            start -= size
            stream.seek(start)
            text = stream.read(size) + text
    lines_read = text.splitlines(keepends=True)[-lines:] if lines else []
    return b"".join(lines_read).decode("utf-8", errors="replace"), end


def following(path: Path, place: int, *, poll_s: float = POLL_S) -> Iterator[str]:
    """What is written behind `place` from now on; goes on in the new file when one is begun."""
    stream, decode = _opened(path, place)
    try:
        while True:
            is_over = _is_another(path, stream)  # asked first: its last words are read below
            text = stream.read()
            if text:
                yield decode.decode(text)
            elif is_over:
                stream.close()
                stream, decode = _opened(path, 0)
            else:
                time.sleep(poll_s)
    finally:
        stream.close()


def _opened(path: Path, place: int) -> tuple[BinaryIO, codecs.IncrementalDecoder]:
    stream = path.open("rb")
    stream.seek(place)
    # incremental: what is read may end within a character
    return stream, codecs.getincrementaldecoder("utf-8")(errors="replace")


def _is_another(path: Path, stream: BinaryIO) -> bool:
    """Whether the log has been begun anew, or cut, since it was opened."""
    try:
        now = path.stat()
    except FileNotFoundError:
        return False  # between the two steps of a rotation
    was = os.fstat(stream.fileno())
    return (now.st_dev, now.st_ino) != (was.st_dev, was.st_ino) or now.st_size < stream.tell()


def _named(logs: dict[str, Path]) -> str:
    return ", ".join(logs)


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s ago"
    return f"{seconds / 60:.0f} min ago" if seconds < 7200 else f"{seconds / 3600:.0f} h ago"
