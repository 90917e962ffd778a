"""A file of settled values, folded as production folds them: votes, judges, answers judged anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.exceptions import ColumnNotFoundError

from tests.bench.retraining.stream_files import COLUMNS, told
from twin_resources.errors import TwinError

FALL_DAY, DAYS = 30, 50
Value = tuple[str, str, str, str, str, int | None, float, str]


def votes(author: str, before: float, since: float, *, a_day: int = 30) -> list[Value]:
    """Thumbs of readers who come once: `since` from `FALL_DAY` on."""
    rng = np.random.default_rng(7)
    return [
        ("thumbs", author, "v1", "short", f"{author}-{day}-{number}", day, float(up), "vote")
        for day in range(DAYS)
        for number, up in enumerate(rng.random(a_day) < (since if day >= FALL_DAY else before))
    ]


def scored(
    author: str, kind: str, before: float, since: float, *, a_day: int, stream: str = "topic@1"
) -> list[Value]:
    """Scores of a judge, of answers of each day."""
    rng = np.random.default_rng(8)
    means = [since if day >= FALL_DAY else before for day in range(DAYS)]
    return [
        (stream, author, "v1", "short", f"t{day}-{number}", day, float(score), kind)
        for day, mean in enumerate(means)
        for number, score in enumerate(np.clip(rng.normal(mean, 0.1, a_day), 0.0, 1.0))
    ]


def lines_of(folder: Path, rows: list[Value], **sensitivities: float) -> list[str]:
    file = folder / "streams.parquet"
    pl.DataFrame(rows, schema=COLUMNS, orient="row").write_parquet(file)
    return told(file, sensitivities={f"{name}@1": value for name, value in sensitivities.items()})


def first_alarm(lines: list[str]) -> str:
    return next(line for line in lines if line.startswith("  alarm 1 "))


def test_answers_judged_anew_name_readers_who_changed(tmp_path: Path) -> None:
    rows = [
        *votes("ada", 0.9, 0.75),
        *scored("ada", "judge", 0.8, 0.8, a_day=1),
        *scored("ada", "control", 0.7, 0.7, a_day=30),
    ]

    lines = lines_of(tmp_path, rows, topic=0.5)

    assert lines[0].startswith("ada judge:topic@1 v1: 50 values, not armed")
    assert lines[1].endswith(", 1 alarms"), "held to what the changed readers say, since then"
    assert lines[2] == first_alarm(lines)
    assert "no judge sees the fall: readers gave 0." in lines[2]
    assert lines[2].endswith("held_back (readers_changed)")
    assert lines[3] == "ada judge:topic@1 v1: 1,500 answers judged anew, D 0.5"


def test_without_them_the_stored_scores_leave_it_open(tmp_path: Path) -> None:
    """The same world: it is trained, as it is where no control comes."""
    rows = [*votes("ada", 0.9, 0.75), *scored("ada", "judge", 0.8, 0.8, a_day=1)]

    alarm = first_alarm(lines_of(tmp_path, rows, topic=0.5))

    assert "too few of a judge's scores" in alarm
    assert alarm.endswith("; train")


def test_answers_that_the_judge_now_scores_lower_have_fallen(tmp_path: Path) -> None:
    rows = [*votes("ada", 0.9, 0.75), *scored("ada", "control", 0.8, 0.5, a_day=30)]

    alarm = first_alarm(lines_of(tmp_path, rows, topic=0.5))

    assert "a judge sees the fall" in alarm
    assert alarm.endswith("; train")


def test_a_judge_that_gives_old_answers_less_now_has_moved(tmp_path: Path) -> None:
    """Its stored scores fell by .3; asked anew it gives all answers as little."""
    rows = [
        *scored("ada", "judge", 0.8, 0.5, a_day=30),
        *scored("ada", "control", 0.5, 0.5, a_day=10, stream="judge:topic@1"),
    ]

    lines = lines_of(tmp_path, rows, topic=0.5)

    assert "it has moved" in first_alarm(lines)
    assert first_alarm(lines).endswith("held_back (judge_changed)")
    assert lines[-1].startswith("ada judge:topic@1 v1: 500 answers judged anew")


def test_answers_of_after_the_alarm_are_not_known_to_it(tmp_path: Path) -> None:
    """All are judged anew, and of those since the drop only the ones of days after the alarm."""
    anew = scored("ada", "control", 0.7, 0.7, a_day=60)
    told_at = first_alarm(lines_of(tmp_path, [*votes("ada", 0.9, 0.75), *anew], topic=0.5))
    today = int(told_at.partition(", day ")[2].partition(":")[0])
    assert "no judge sees the fall" in told_at
    late = [one for one in anew if one[5] is not None and not FALL_DAY - 5 <= one[5] <= today]

    alarm = first_alarm(lines_of(tmp_path, [*votes("ada", 0.9, 0.75), *late], topic=0.5))

    assert f", day {today}: " in alarm
    assert "too few of a judge's scores" in alarm


def test_judges_without_a_certificate_are_not_asked(tmp_path: Path) -> None:
    rows = [*votes("ada", 0.9, 0.75), *scored("ada", "control", 0.7, 0.7, a_day=30)]

    lines = lines_of(tmp_path, rows)

    assert first_alarm(lines).endswith("; train")
    assert "judge" not in first_alarm(lines)
    assert lines[-1].endswith("no D is given: it is not asked")


def test_what_a_file_lacks_is_said(tmp_path: Path) -> None:
    other = [("stars", "ada", "v1", "short", "", 1, 0.5, "rating")]
    assert lines_of(tmp_path, [*votes("ada", 0.9, 0.9), *other])[-1] == (
        "left out: 1 values of kind rating"
    )
    nameless: list[Value] = [("topic@1", "ada", "v1", "short", "", None, 0.5, "control")]
    with pytest.raises(TwinError, match="1 values of kind control without a day"):
        lines_of(tmp_path, [*votes("ada", 0.9, 0.9), *nameless])
    with pytest.raises(TwinError, match="above 0 and at most 1"):
        lines_of(tmp_path, votes("ada", 0.9, 0.9), topic=1.5)
    pl.DataFrame({"stream": ["thumbs"]}).write_parquet(tmp_path / "few.parquet")
    with pytest.raises(ColumnNotFoundError):
        told(tmp_path / "few.parquet")
