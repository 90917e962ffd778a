"""Measure the CPU seconds of a Python program relative to another on the same machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

COMMAND_LINE_LIBRARIES = "import json, rich.console, typer\n"
"""The libraries that every command of `twin` needs, as the unit of its CPU time."""


def measure_cpu_ratio(
    code: str, *, environ: Mapping[str, str] | None = None, repetitions: int = 3
) -> tuple[float, str, list[str]]:
    """Return the CPU seconds of `code` as a multiple of those of `COMMAND_LINE_LIBRARIES`.

    CPU seconds increase on a busy machine, so both run alternately, and each minimum counts.

    Args:
        code: Python that does not end its process.
        environ: added to the environment of this process.
        repetitions: number of runs of each program.

    Returns:
        The ratio, and the standard output and error lines of the last run of `code`.

    Raises:
        CalledProcessError: the code failed.
    """
    code_s, libraries_s = list[float](), list[float]()
    output, errors = "", list[str]()
    for _ in range(repetitions):
        seconds, _, _ = _run(COMMAND_LINE_LIBRARIES, {})
        libraries_s.append(seconds)
        seconds, output, errors = _run(code, environ or {})
        code_s.append(seconds)
    return min(code_s) / min(libraries_s), output, errors


def _run(code: str, environ: Mapping[str, str]) -> tuple[float, str, list[str]]:
    print_time = "\nimport sys, time\nprint(time.process_time(), file=sys.stderr)\n"
    completed = subprocess.run(
        [sys.executable, "-c", code + print_time],
        env=os.environ | dict(environ),
        capture_output=True,
        text=True,
        check=True,
    )
    *errors, seconds = completed.stderr.strip().splitlines()
    return float(seconds), completed.stdout, errors
