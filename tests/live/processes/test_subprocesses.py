"""Modules that a command runs as child processes: their streams, and their end with it."""

from __future__ import annotations

import time

import pytest
from twin_cli.commands.subprocesses import start_module_process

from twin_resources.processes.process_identity import find_marked_processes
from twin_resources.settings import Settings

pytestmark = pytest.mark.live


def test_output_errors_and_exit_code_are_separate(home: Settings) -> None:
    lines: list[str] = []
    with start_module_process(
        home, "twin_resources.models.base_model", "show", on_stderr_line=lines.append
    ) as module:
        finished = module.wait()
    assert finished.exit_code == 2
    assert finished.stdout == ""
    assert finished.stderr_tail
    assert lines == finished.stderr_tail.splitlines()
    assert "base_model prepare" in finished.stderr_tail
    with start_module_process(home, "json.tool", "--help") as module:
        assert module.wait().stdout.startswith("usage:")


def test_an_interrupt_ends_the_module_and_its_children(home: Settings) -> None:
    start = time.monotonic()

    def interrupted() -> None:
        with start_module_process(home, "http.server", "0", "--bind", "127.0.0.1", instance="it"):
            while not find_marked_processes("it"):  # until the process has its environment
                assert time.monotonic() - start < 60
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert find_marked_processes("it") == []
