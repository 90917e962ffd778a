"""Test the detection of a program's progress, with real child processes and a simulated clock."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from twin_resources.errors import TwinError
from twin_resources.processes import program_progress
from twin_resources.processes.program_progress import ProgramProgress, measure_cpu_s, run_for_output
from twin_resources.wait_limits import MAX_IDLE_S, MAX_WORKING_S


@contextmanager
def child(code: str) -> Iterator[int]:
    """Start a Python process that runs `code`, and yield its pid."""
    code = f"print('begun', flush=True)\n{code}"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Replace the clock; its time is the attribute `now`."""
    clock = SimpleNamespace(now=100.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(program_progress, "time", clock)
    return clock


def test_a_waiting_program_is_idle_and_a_writing_program_is_not(
    tmp_path: Path, clock: SimpleNamespace
) -> None:
    log = tmp_path / "web.log"
    with child("import time; time.sleep(600)") as pid:
        progress = ProgramProgress()
        assert progress.measure_idle_s(pid, log) == 0.0
        clock.now += 50
        assert progress.measure_idle_s(pid, log) == 50.0
        log.write_text("loading\n")
        assert progress.measure_idle_s(pid, log) == 0.0
        clock.now += 20
        assert progress.measure_idle_s(pid, log) == 20.0
        assert progress.measure_idle_s(0, log) == 0.0, "a missing process was idle"


def test_a_program_whose_child_computes_is_not_idle(tmp_path: Path, clock: SimpleNamespace) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    with child(code) as pid:
        progress = ProgramProgress()
        progress.measure_idle_s(pid, tmp_path / "none.log")
        before = measure_cpu_s(pid)
        while measure_cpu_s(pid) < before + 0.1:  # it may wait long for a core
            os.sched_yield()
        clock.now += 500
        assert progress.measure_idle_s(pid, tmp_path / "none.log") == 0.0
        for child_pid in subprocess.run(
            ["pgrep", "-P", str(pid)], capture_output=True, text=True, check=True
        ).stdout.split():
            os.kill(int(child_pid), 9)


def test_idle_and_endless_programs_get_a_reason_to_stop(
    tmp_path: Path, clock: SimpleNamespace
) -> None:
    log = tmp_path / "web.log"
    with child("import time; time.sleep(600)") as pid:
        progress = ProgramProgress()
        assert not progress.find_stop_reason(pid, log)
        clock.now += MAX_IDLE_S
        assert not progress.find_stop_reason(pid, log)
        clock.now += 1
        assert (
            progress.find_stop_reason(pid, log) == "not done after 181 s, the last 181 of them idle"
        )
        log.write_text("loading\n")
        assert not progress.find_stop_reason(pid, log)
        clock.now += MAX_WORKING_S
        log.write_text("loading again\n")
        assert progress.find_stop_reason(pid, log) == "not done after 3781 s"


def test_a_program_that_reads_late_gets_its_whole_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that did not read within a second once waited for its input until it was killed."""
    monkeypatch.setattr(program_progress, "POLL_INTERVAL_S", 0.01)
    code = "import sys, time; time.sleep(.2); sys.stderr.write(sys.stdin.read()); sys.exit(3)"
    text = b"post" * 100_000  # more than a pipe holds
    completed = run_for_output([sys.executable, "-c", code], input_bytes=text)
    assert (completed.returncode, completed.stdout, completed.stderr) == (3, b"", text)


def test_a_program_is_stopped_when_its_processor_time_is_used_up() -> None:
    start = time.monotonic()
    with pytest.raises(TwinError, match=r"not done after 0\.2 s of processor time"):
        run_for_output([sys.executable, "-c", "while True: pass"], max_cpu_s=0.2)
    assert time.monotonic() - start < 60, "the program was not stopped"
    assert measure_cpu_s(2**22 + 7) == 0.0, "a missing process has processor time"
