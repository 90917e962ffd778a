"""Test the modules that a command runs as child processes: their streams and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from twin_cli.commands.subprocesses import run_module

from twin_resources.processes.process_identity import find_marked_processes
from twin_resources.settings import Settings

ROOT = Path(__file__).parents[3]
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


@pytest.mark.parametrize(
    ("instance", "arguments", "ends"),
    [
        ("of-a-stack", "", True),
        ("", "", False),  # a container's first process may be the parent
        ("", "int(sys.argv[1])", True),  # whoever knows the parent needs no stack
    ],
)
def test_a_child_whose_parent_ended_before_it_could_watch_ends(
    tmp_path: Path, instance: str, arguments: str, ends: bool
) -> None:
    """A gateway's worker was orphaned while it imported its application."""
    child = (
        "import os, pathlib, sys, time; parent = int(sys.argv[1]);\n"
        "while os.getppid() == parent: time.sleep(0.05)\n"
        "from twin_resources.processes.parent_death import end_with_parent\n"
        f"end_with_parent({arguments})\n"
        "pathlib.Path(sys.argv[2]).touch()\n"
    )
    parent = (
        "import os, subprocess, sys\n"
        "process = subprocess.Popen([sys.executable, '-c', sys.argv[1], str(os.getpid()),"
        " sys.argv[2]], stderr=subprocess.DEVNULL)\n"
        "print(process.pid)\n"
    )
    went_on = tmp_path / "went on"
    result = subprocess.run(
        [sys.executable, "-c", parent, child, str(went_on)],
        env=os.environ | {"TWIN_INSTANCE": instance},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    while psutil.pid_exists(int(result.stdout)):
        time.sleep(0.1)
    assert went_on.exists() is not ends
