"""Run `twin logs`: print the end of a program's log, or follow the log.

Scope: finding a program's log, printing its last lines, and following it through a rotation.
Out of scope: writing and rotating logs (`processes/supervisor.py`), and a run's log (Dagster's UI).
"""
# pyright: strict

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from twin_resources.errors import TwinError
from twin_resources.processes.wording import format_duration
from twin_resources.settings import Settings


def run_logs(
    settings: Settings,
    program: str,
    *,
    line_count: int,
    follow: bool,
    log: Callable[[str], object],
) -> int:
    """Print the end of a log, or list the logs if no program was named; return the exit code.

    Args:
        line_count: maximum number of lines, from the end.
        follow: whether to go on until Ctrl-C, through a rotation.
        log: prints one line; a line may quote what a reader wrote.

    Raises:
        TwinError: the log does not exist, or no program has run here yet.
    """
    logs = find_logs(settings)
    if not program:
        if follow:
            raise TwinError(
                "follow a log",
                found="no program was named",
                next_step=f"name one: {', '.join(logs)}",
            )
        for name, path in logs.items():
            file_stat = path.stat()
            age = format_duration(max(0.0, time.time() - file_stat.st_mtime))
            log(f"{name:<20} {file_stat.st_size / 1000:>9,.0f} KB  written {age} ago")
        log("the logs of training runs are in Dagster: `twin open dagster`")
        return 0
    path = logs.get(program)
    if path is None:
        raise TwinError(
            f"show the log of {program!r}",
            found=f"{settings.logs_dir} has logs of {', '.join(logs)}",
            next_step="name one of these programs",
        )
    command = ["tail", "-n", str(line_count), str(path)]
    if follow:
        command.append("-F")  # follows the name, and so reads the new log after a rotation
    with subprocess.Popen(command, stdout=subprocess.PIPE, errors="replace") as tail:
        try:
            for line in tail.stdout or ():
                log(line.removesuffix("\n"))
        except BaseException:  # Ctrl-C, which may reach only this process
            tail.terminate()
            raise
    return tail.returncode


def find_logs(settings: Settings) -> dict[str, Path]:
    """Return the log of each program, sorted by name.

    Raises:
        TwinError: no program has run in this home.
    """
    logs = {path.stem: path for path in sorted(settings.logs_dir.glob("*.log"))}
    if not logs:
        raise TwinError(
            "find the logs",
            found=f"no log in {settings.logs_dir}",
            next_step="start the stack with `twin up`, or name its home with --home",
        )
    return logs
