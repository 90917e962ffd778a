"""Measure the CPU seconds of a Python program relative to another on the same machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

COMMAND_LINE_LIBRARIES = "import json, rich.console, typer\n"
"""Imports of every `twin` command; their CPU time is the unit of `measure_cpu_ratio`."""


def measure_cpu_ratio(
    code: str, *, environ: Mapping[str, str] | None = None, repetitions: int = 3
) -> tuple[float, str, list[str]]:
    """Measure the CPU seconds of `code` as a multiple of those of `COMMAND_LINE_LIBRARIES`.

    CPU seconds increase on a busy machine. Both programs therefore run alternately, and the minimum
    of each is used.

    Args:
        code: a Python program that does not exit early.
        environ: variables added to the environment of this process.
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
    timing_code = "\nimport sys, time\nprint(time.process_time(), file=sys.stderr)\n"
    completed = subprocess.run(
        [sys.executable, "-c", code + timing_code],
        env=os.environ | dict(environ),
        capture_output=True,
        text=True,
        check=True,
    )
    *errors, seconds = completed.stderr.strip().splitlines()
    return float(seconds), completed.stdout, errors
