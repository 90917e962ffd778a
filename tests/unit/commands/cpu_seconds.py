"""CPU seconds of a Python program beside another's on the same machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

COMMAND_LINE_LIBRARIES = "import json, rich.console, typer\n"
"""What every command of `twin` needs: the measure of what it adds."""


def times_the_libraries(
    code: str, *, environ: Mapping[str, str] | None = None, runs: int = 3
) -> tuple[float, str, list[str]]:
    """CPU seconds of some code as a multiple of those of `COMMAND_LINE_LIBRARIES`.

    CPU seconds grow beside busy neighbours, so that both run in turns and the least of either
    counts.

    Args:
        code: Python that does not end its process.
        environ: variables beside those of this process.
        runs: how many times either is run.

    Returns:
        The ratio, and standard output and error lines of the code's last run.

    Raises:
        CalledProcessError: the code failed.
    """
    took, libraries = list[float](), list[float]()
    output, errors = "", list[str]()
    for _ in range(runs):
        seconds, _, _ = _run(COMMAND_LINE_LIBRARIES, {})
        libraries.append(seconds)
        seconds, output, errors = _run(code, environ or {})
        took.append(seconds)
    return min(took) / min(libraries), output, errors


def _run(code: str, environ: Mapping[str, str]) -> tuple[float, str, list[str]]:
    ended = "\nimport sys, time\nprint(time.process_time(), file=sys.stderr)\n"
    ran = subprocess.run(
        [sys.executable, "-c", code + ended],
        env=os.environ | dict(environ),
        capture_output=True,
        text=True,
        check=True,
    )
    *errors, seconds = ran.stderr.strip().splitlines()
    return float(seconds), ran.stdout, errors
