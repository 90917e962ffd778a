"""Test the modules that a command runs as child processes: their streams and their end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from twin_cli.commands.subprocesses import run_module

from twin_resources.processes.process_identity import find_marked_processes
from twin_resources.settings import Settings

pytestmark = pytest.mark.live


def test_output_errors_and_exit_code_are_separate(home: Settings) -> None:
    lines: list[str] = []
    result = run_module(
        home, "twin_resources.models.base_model", "show", on_stderr_line=lines.append
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert lines == result.stderr.splitlines()
    assert "base_model prepare" in result.stderr
    help_result = run_module(home, "json.tool", "--help", on_stderr_line=lines.append)
    assert help_result.stdout.startswith("usage:")


def test_an_interrupt_ends_the_module_and_its_children(home: Settings) -> None:
    code = (
        "from twin_cli.commands.subprocesses import run_module;"
        "from twin_resources.settings import load_settings;"
        "run_module(load_settings(), 'http.server', '0', instance='it', on_stderr_line=print)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as command:
        started_at = time.monotonic()
        while not find_marked_processes("it"):
            assert time.monotonic() - started_at < 60
        time.sleep(1.0)  # until the command waits for the module
        command.send_signal(signal.SIGINT)
    assert find_marked_processes("it") == []
