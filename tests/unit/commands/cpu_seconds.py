"""CPU seconds of a Python program, to be compared with another's on the same machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

COMMAND_LINE_LIBRARIES = "import json, rich.console, typer\n"
"""What every command of `twin` needs: the measure of what it adds."""


def cpu_seconds(
    code: str, *, environ: Mapping[str, str] | None = None, runs: int = 3
) -> tuple[float, str, list[str]]:
    """Least CPU seconds of some runs, and the standard output and error lines of the last.

    CPU seconds grow beside busy neighbours, so that the best of several runs counts.

    Args:
        code: Python that does not end its process.
        environ: variables beside those of this process.
        runs: how many times it is run.

    Raises:
        CalledProcessError: the program failed.
    """
    ended = "\nimport sys, time\nprint(time.process_time(), file=sys.stderr)\n"
    took: list[float] = []
    for _ in range(runs):
        ran = subprocess.run(
            [sys.executable, "-c", code + ended],
            env=os.environ | dict(environ or {}),
            capture_output=True,
            text=True,
            check=True,
        )
        *errors, seconds = ran.stderr.strip().splitlines()
        took.append(float(seconds))
    return min(took), ran.stdout, errors
