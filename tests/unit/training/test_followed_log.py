"""Test when following a training run's log ends, with a simulated clock."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from twin_resources.models.training_launcher import TrainingJob, machine
from twin_resources.models.training_launcher.machine import POLL_INTERVAL_S, watch
from twin_resources.models.training_launcher.training_job import AttemptEnd


class Clock:
    """A clock that advances while the launcher sleeps; `meanwhile` simulates the training run."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.meanwhile: Callable[[float], object] = lambda _: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile(self.now - 1_000.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(machine, "time", clock)
    return clock


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A training process that prints nothing and does not end."""
    waits = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(waits, stdin=subprocess.PIPE) as process:
        yield process


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "training.log"
    path.write_text("of an attempt before\n", encoding="utf-8")
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

    def speak_once(at: float) -> None:
        if pending_lines and at >= pending_lines[0][0]:
            append(log, pending_lines.pop()[1])

    clock.meanwhile = speak_once

    attempt_end = watch(process, job, log, lines.append, log_start=start)

    assert attempt_end == AttemptEnd("no output for 600 s", should_retry=True, log_start=start)
    assert lines == ["step 1"], "what was said before is another attempt's"
    assert clock.now - 1_000.0 == pytest.approx(100 + 600, abs=3 * POLL_INTERVAL_S)


def test_a_training_run_over_its_time_limit_is_not_retried(
    clock: Clock, process: subprocess.Popen[bytes], log: Path, tmp_path: Path
) -> None:
    job = make_job(tmp_path, silence_s=600, timeout_s=2_000)
    next_word = iter(range(500, 10_000, 500))
    due = [next(next_word)]

    def speak(at: float) -> None:
        if at >= due[0]:
            due[0] = next(next_word)
            append(log, ".")  # half a line is a sign of life too

    clock.meanwhile = speak

    attempt_end = watch(process, job, log, lambda _: None, log_start=0)

    assert attempt_end == AttemptEnd("not finished within 2000 s", should_retry=False, log_start=0)
    assert clock.now - 1_000.0 == pytest.approx(2_000, abs=2 * POLL_INTERVAL_S)


@pytest.mark.parametrize(
    ("code", "description", "retry"),
    [("print('done')", "exit code 0", False), ("import sys; sys.exit(3)", "exit code 3", True)],
)
def test_the_last_lines_are_read_after_the_process_has_ended(
    log: Path, tmp_path: Path, code: str, description: str, retry: bool
) -> None:
    with (
        log.open("ab") as stream,
        subprocess.Popen([sys.executable, "-c", code], stdout=stream) as done,
    ):
        done.wait()
    lines: list[str] = []
    job = make_job(tmp_path, silence_s=600, timeout_s=2_000)

    attempt_end = watch(done, job, log, lines.append, log_start=0)

    assert (attempt_end.description, attempt_end.should_retry) == (description, retry)
    assert lines == ["of an attempt before", *(["done"] if description == "exit code 0" else [])]
