"""`twin logs`: what a program of the stack has written, its end or as it is written.

Scope: finding a program's log, its last lines, following it through a rotation.
Out of scope: writing and rotating it (`processes/supervisor.py`), a run's log (Dagster's
UI).
"""
# pyright: strict

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from twin_resources.errors import TwinError
from twin_resources.settings import Settings


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
    # by its name: the log that a rotation restarts is followed too
    command = ["tail", "-n", str(lines), *(["-F"] if follow else []), str(path)]
    try:
        return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return 130  # the only way to end it: nothing to be said


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


def _named(logs: dict[str, Path]) -> str:
    return ", ".join(logs)


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s ago"
    return f"{seconds / 60:.0f} min ago" if seconds < 7200 else f"{seconds / 3600:.0f} h ago"
