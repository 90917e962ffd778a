"""Test when the launcher stops following a training run's log, with a simulated clock."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from twin_resources.models.training_launcher import TrainingJob, rank_processes
from twin_resources.models.training_launcher.rank_processes import (
    POLL_INTERVAL_S,
    AttemptEnd,
    follow_log,
)


class Clock:
    """A clock that advances while the launcher sleeps; `on_sleep` simulates the training run."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.on_sleep: Callable[[float], object] = lambda _: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep(self.now - 1_000.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rank_processes, "time", clock)
    return clock


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Yield a training process that prints nothing and does not end."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        yield process


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "training.log"
    path.write_text("line of an earlier attempt\n", encoding="utf-8")
    return path


def append(log: Path, text: str) -> None:
    with log.open("a", encoding="utf-8") as stream:
        stream.write(text)


def make_job(folder: Path, *, silence_s: float, timeout_s: float) -> TrainingJob:
    return TrainingJob(
        name="ann", folder=folder, module="m", ranks=1, silence_s=silence_s, timeout_s=timeout_s
    )


def test_a_silent_training_run_is_stopped_and_retried(
    clock: Clock, process: subprocess.Popen[bytes], log: Path, tmp_path: Path
) -> None:
    job = make_job(tmp_path, silence_s=600, timeout_s=10_000)
    lines: list[str] = []
    start = log.stat().st_size
    pending_lines = [(100.0, "step 1\n")]

    def print_once(elapsed_s: float) -> None:
        if pending_lines and elapsed_s >= pending_lines[0][0]:
            append(log, pending_lines.pop()[1])

    clock.on_sleep = print_once

    attempt_end = follow_log(process, job, log, lines.append, log_start=start)

    assert attempt_end == AttemptEnd("no output for 600 s", should_retry=True, log_start=start)
    assert lines == ["step 1"], "lines of an earlier attempt were read"
    assert clock.now - 1_000.0 == pytest.approx(100 + 600, abs=3 * POLL_INTERVAL_S)


def test_a_training_run_over_its_time_limit_is_not_retried(
    clock: Clock, process: subprocess.Popen[bytes], log: Path, tmp_path: Path
) -> None:
    job = make_job(tmp_path, silence_s=600, timeout_s=2_000)
    print_times = iter(range(500, 10_000, 500))
    next_print = [next(print_times)]

    def print_regularly(elapsed_s: float) -> None:
        if elapsed_s >= next_print[0]:
            next_print[0] = next(print_times)
            append(log, ".")  # output without a line end counts too

    clock.on_sleep = print_regularly

    attempt_end = follow_log(process, job, log, lambda _: None, log_start=0)

    assert attempt_end == AttemptEnd("not finished within 2000 s", should_retry=False, log_start=0)
    assert clock.now - 1_000.0 == pytest.approx(2_000, abs=2 * POLL_INTERVAL_S)


@pytest.mark.parametrize(
    ("code", "description", "should_retry"),
    [("print('done')", "exit code 0", False), ("import sys; sys.exit(3)", "exit code 3", True)],
)
def test_the_last_lines_are_read_after_the_process_ended(
    log: Path, tmp_path: Path, code: str, description: str, should_retry: bool
) -> None:
    with (
        log.open("ab") as stream,
        subprocess.Popen([sys.executable, "-c", code], stdout=stream) as process,
    ):
        process.wait()
    lines: list[str] = []
    job = make_job(tmp_path, silence_s=600, timeout_s=2_000)

    attempt_end = follow_log(process, job, log, lines.append, log_start=0)

    assert (attempt_end.description, attempt_end.should_retry) == (description, should_retry)
    assert lines == [
        "line of an earlier attempt",
        *(["done"] if description == "exit code 0" else []),
    ]
