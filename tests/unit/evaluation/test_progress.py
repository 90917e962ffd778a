"""Test the progress lines of an evaluation."""

from __future__ import annotations

import json

import pytest

from twin_resources.processes import progress_lines, time_left
from twin_resources.processes.progress_lines import ProgressLines, SyncProgressLogger


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time that the clock shows, as a list of one changeable number."""
    clock_s = [100.0]
    monkeypatch.setattr(progress_lines.time, "monotonic", lambda: clock_s[0])
    return clock_s


@pytest.fixture(autouse=True)
def quiet_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_left.os, "getloadavg", lambda: (1.0, 1.0, 1.0))


@pytest.fixture
def lines() -> list[str]:
    return []


def test_lines_report_the_step_and_the_time_left(now: list[float], lines: list[str]) -> None:
    progress = ProgressLines(lines.append)
    progress.expect("perplexity of candidate", 40, step_s=3.0)
    advance = progress.make_step_recorder("perplexity of candidate")

    for _ in range(10):
        now[0] += 1
        advance(2)

    reports = [json.loads(line.removeprefix("progress ")) for line in lines]
    assert [report["step"] for report in reports] == [6, 12, 18]
    assert reports[-1] == {
        "step": 18,
        "steps": 40,
        "message": "perplexity of candidate",
        "eta_s": [7, 16],
    }


def test_lines_never_report_more_steps_than_expected(now: list[float], lines: list[str]) -> None:
    progress = ProgressLines(lines.append)
    progress.expect("reference", 4, step_s=1.0)

    now[0] += 10
    progress.make_step_recorder("reference")(9)

    assert '"step": 4, "steps": 4' in lines[0]
    assert '"eta_s": [0, 0]' in lines[0]


def test_finished_parts_correct_the_estimates_of_later_ones(
    now: list[float], lines: list[str]
) -> None:
    progress = ProgressLines(lines.append)
    progress.expect("passages", 10, step_s=0.5)
    progress.expect("answers", 20, step_s=1.0)

    for _ in range(10):
        now[0] += 2.0  # four times the expected time
        progress.make_step_recorder("passages")(1)

    report = json.loads(lines[-1].removeprefix("progress "))
    assert (report["step"], report["steps"]) == (10, 30)
    assert report["eta_s"] == [round(20 * 4 / 1.5), 20 * 4 * 1.5]
    progress.expect("answers", 5, step_s=1.0)  # fewer answers are needed after all
    now[0] += 4.0
    progress.make_step_recorder("answers")(1)
    report = json.loads(lines[-1].removeprefix("progress "))
    assert (report["step"], report["steps"], report["eta_s"]) == (11, 15, [11, 24])


def test_an_unexpected_part_counts_its_steps(now: list[float], lines: list[str]) -> None:
    progress = ProgressLines(lines.append)

    now[0] += 10
    progress.make_step_recorder("reference")(2)

    assert '"step": 2, "steps": 2' in lines[0]


def test_batches_report_the_time_left_for_all_inputs(now: list[float], lines: list[str]) -> None:
    """Two batches of 1,000 inputs take ten parts of two seconds each; the last 500 take five."""
    progress = SyncProgressLogger(lines.append, "embedding")

    for first, last, parts in ((0, 1000, 10), (1000, 2000, 10), (2000, 2500, 5)):
        progress.begin_batch(range(first, last), 2500)
        for done in range(1, parts + 1):
            now[0] += 2.0
            progress.advance(done, parts)

    reports = [json.loads(line.removeprefix("progress ")) for line in lines]
    assert {report["message"] for report in reports} == {"embedding"}
    assert [(report["step"], report["steps"]) for report in reports][:2] == [
        (200, 2500),
        (400, 2500),
    ]
    for report in reports:
        shortest_s, longest_s = report["eta_s"]
        assert shortest_s <= (2500 - report["step"]) / 100 * 2.0 <= longest_s
    assert reports[-1]["step"] >= 2400


def test_each_input_is_reported_once(now: list[float], lines: list[str]) -> None:
    """Three long posts are processed in forty parts; each post is one step."""
    progress = SyncProgressLogger(lines.append, "embedding")
    progress.begin_batch(range(3), 3)
    for done in range(1, 41):
        now[0] += 2.0
        progress.advance(done, 40)
    steps = [json.loads(line.removeprefix("progress "))["step"] for line in lines]
    assert steps == [1, 2, 3]
