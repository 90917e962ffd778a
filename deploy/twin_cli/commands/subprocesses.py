"""Run modules of the project as separate processes, which end with the command.

Scope: running `python -m …` with the stack's environment, forwarding its output, and ending it.
Out of scope: supervised programs (`processes/supervisor.py`), and the modules' work.

There are two uses: exports, and preparing the base model, the embedder and the answer model while
`twin up` continues. These modules load torch, PEFT and llama.cpp, which read environment variables
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
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from twin_resources.processes.child_environment import child_environment
from twin_resources.processes.process_identity import (
    end_processes,
    find_session_processes,
    identify,
)
from twin_resources.processes.programs import find_working_folder
from twin_resources.settings import Settings

MAX_ERROR_LINES = 40


@dataclass(frozen=True)
class ModuleResult:
    """The result of a module process; `stderr_tail` is the end of its standard error."""

    exit_code: int
    stdout: str
    stderr_tail: str


class RunningModule:
    """A running module process; two threads read its output streams."""

    def __init__(
        self, process: subprocess.Popen[str], on_stderr_line: Callable[[str], object] | None
    ) -> None:
        self._process = process
        self._on_stderr_line = on_stderr_line
        self._stdout_lines: list[str] = []
        self._stderr_lines: list[str] = []
        self._readers = [
            threading.Thread(target=target, daemon=True)
            for target in (self._read_stdout, self._read_stderr)
        ]
        for reader in self._readers:
            reader.start()

    def wait(self) -> ModuleResult:
        """Wait until the process ends; Ctrl-C interrupts the wait."""
        code = self._process.wait()
        for reader in self._readers:
            reader.join()
        stderr_tail = "\n".join(self._stderr_lines[-MAX_ERROR_LINES:]).strip()
        return ModuleResult(code, "".join(self._stdout_lines), stderr_tail)

    def _read_stdout(self) -> None:
        assert self._process.stdout is not None
        self._stdout_lines.extend(self._process.stdout)

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._stderr_lines.append(line.rstrip())
            if self._on_stderr_line is not None and line.strip():
                self._on_stderr_line(line.rstrip())


@contextmanager
def start_module_process(
    settings: Settings,
    *arguments: str,
    instance: str = "",
    on_stderr_line: Callable[[str], object] | None = None,
) -> Generator[RunningModule]:
    """Start `python -m <arguments>`, and end all its processes when the block ends.

    Args:
        instance: the stack's marker, by which `twin stop` also finds this process.
        on_stderr_line: called in a thread with each new line of standard error.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
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
    try:
        yield RunningModule(process, on_stderr_line)
    finally:
        if process.poll() is None:
            leader = identify(process.pid)
            if leader is not None:
                end_processes(find_session_processes(leader))
            process.wait()
