"""Progress of an evaluation: lines that a follower of the run can read, not too many of them."""

from __future__ import annotations

import json

import pytest

from twin_assets.evaluation import progress as measurement
from twin_assets.evaluation.progress import Progress


def test_lines_carry_step_time_left_and_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(measurement.time, "monotonic", lambda: now[0])
    lines: list[str] = []
    progress = Progress(lines.append, 40)
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
    advance = Progress(lines.append, 4).of("reference")

    now[0] = 10
    advance(9)

    assert '"step": 4, "steps": 4' in lines[0]
    assert '"eta_s": 0' in lines[0]
