"""Run modules of the project as separate processes, which end with the command.

Scope: running `python -m …` with the stack's environment, forwarding its output, and ending it.
Out of scope: supervised programs (`processes/supervisor.py`), and the modules' work.

Exports and the preparation of the base model, the embedder and the answer model run in separate
processes, because they load torch, PEFT and llama.cpp. These libraries read environment variables
at import, write to standard output and use gigabytes of memory. All other code is called directly.
By convention, the modules write their result to standard output and their progress to standard
error.
"""
# pyright: strict

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO

from twin_resources.errors import TwinError
from twin_resources.processes.child_environment import child_environment
from twin_resources.processes.process_identity import (
    end_processes,
    find_session_processes,
    identify,
)
from twin_resources.processes.programs import find_working_folder
from twin_resources.settings import Settings

MAX_ERROR_LINES = 40


def run_module(
    settings: Settings,
    *arguments: str,
    instance: str = "",
    on_stderr_line: Callable[[str], object],
) -> subprocess.CompletedProcess[str]:
    """Run `python -m <arguments>` to its end; an interrupt ends all its processes.

    The result has only the last `MAX_ERROR_LINES` lines of standard error.

    Args:
        instance: the stack's instance id, with which `twin stop` finds this process.
        on_stderr_line: called in a thread with each new line of standard error.
    """
    runner = ("twin_resources.processes.parent_death", str(os.getpid()))
    command = [sys.executable, "-m", *runner, *arguments]
    process = subprocess.Popen(
        command,
        cwd=find_working_folder(),
        env=child_environment(settings, instance=instance, environ=os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    lines: list[str] = []
    reader = threading.Thread(
        target=_read_lines, args=(process.stderr, lines, on_stderr_line), daemon=True
    )
    try:
        reader.start()
        assert process.stdout is not None
        stdout = process.stdout.read()
        process.wait()
    finally:
        leader = identify(process.pid) if process.poll() is None else None
        if leader is not None:
            end_processes(find_session_processes(leader))
        process.wait()
    reader.join()
    errors = "\n".join(lines[-MAX_ERROR_LINES:]).strip()
    return subprocess.CompletedProcess(command, process.returncode, stdout, errors)


def prepare_model(
    settings: Settings, *arguments: str, title: str, instance: str, log: Callable[[str], object]
) -> str:
    """Run a module that prepares a model, and return its standard output.

    Args:
        title: the model's name in an error.
        instance: the stack's instance id, with which `twin stop` finds and ends the process.

    Raises:
        TwinError: the preparation failed; the error contains the message of its process.
    """
    result = run_module(settings, *arguments, instance=instance, on_stderr_line=log)
    if result.returncode != 0:
        raise TwinError(
            f"prepare {title}",
            found=result.stderr or f"exit code {result.returncode}",
            next_step="correct the cause and run `twin up` again; prepared models are kept",
        )
    return result.stdout


def _read_lines(stream: IO[str], lines: list[str], on_line: Callable[[str], object]) -> None:
    for line in stream:
        lines.append(line.rstrip())
        if line.strip():
            on_line(line.rstrip())
