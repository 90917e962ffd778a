"""Progress of an evaluation: lines that a follower of the run can read, not too many of them."""

from __future__ import annotations

import json

import pytest

from twin_resources.processes import progress_lines as measurement
from twin_resources.processes.progress_lines import ProgressLines, of_batches


def test_lines_carry_step_time_left_and_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(measurement.time, "monotonic", lambda: now[0])
    lines: list[str] = []
    progress = ProgressLines(lines.append)
    progress.expect("perplexity of candidate", 40, each_s=3.0)
    advance = progress.of("perplexity of candidate")

    for _ in range(10):
        now[0] += 1
        advance(2)

    reports = [json.loads(line.removeprefix("progress ")) for line in lines]
    assert [report["step"] for report in reports] == [6, 12, 18]
    assert reports[-1] == {
        "step": 18,
        "steps": 40,
        "message": "perplexity of candidate",
        "eta_s": 11,
    }


def test_more_steps_than_announced_are_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(measurement.time, "monotonic", lambda: now[0])
    lines: list[str] = []
    progress = ProgressLines(lines.append)
    progress.expect("reference", 4, each_s=1.0)

    now[0] = 10
    progress.of("reference")(9)

    assert '"step": 4, "steps": 4' in lines[0]
    assert '"eta_s": 0' in lines[0]


def test_parts_to_come_are_as_much_slower_as_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(measurement.time, "monotonic", lambda: now[0])
    lines: list[str] = []
    progress = ProgressLines(lines.append)
    progress.expect("passages", 10, each_s=0.5)
    progress.expect("answers", 20, each_s=1.0)

    for _ in range(10):
        now[0] += 2.0  # four times what was expected
        progress.of("passages")(1)

    report = json.loads(lines[-1].removeprefix("progress "))
    assert (report["step"], report["steps"]) == (10, 30)
    assert report["eta_s"] == 20 * 4
    progress.expect("answers", 5, each_s=1.0)  # fewer have decided it
    now[0] += 4.0
    progress.of("answers")(1)
    report = json.loads(lines[-1].removeprefix("progress "))
    assert (report["step"], report["steps"], report["eta_s"]) == (11, 15, 16)


def test_a_part_that_nobody_announced_counts_as_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(measurement.time, "monotonic", lambda: now[0])
    lines: list[str] = []
    progress = ProgressLines(lines.append)

    now[0] = 10.0
    progress.of("reference")(2)

    assert '"step": 2, "steps": 2' in lines[0]


def test_batches_are_told_with_their_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(measurement.time, "monotonic", lambda: now[0])
    lines: list[str] = []
    report = of_batches(lines.append, "embedding")

    for total in (12, 6):  # two tables, one after the other
        for done in range(1, total + 1):
            now[0] += 2.0
            report(done, total)

    reports = [json.loads(line.removeprefix("progress ")) for line in lines]
    assert {one["message"] for one in reports} == {"embedding"}
    assert [(one["step"], one["steps"]) for one in reports][:2] == [(2, 12), (4, 12)]
    assert reports[1]["eta_s"] == 16
    assert (reports[-1]["step"], reports[-1]["steps"], reports[-1]["eta_s"]) == (5, 6, 2)
