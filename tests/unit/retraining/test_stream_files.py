"""A file of settled values, folded as production folds them: votes and judges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.exceptions import ColumnNotFoundError

from tests.bench.retraining.stream_files import COLUMNS, told

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


def lines_of(folder: Path, rows: list[Value]) -> list[str]:
    file = folder / "streams.parquet"
    pl.DataFrame(rows, schema=COLUMNS, orient="row").write_parquet(file)
    return told(file)


def first_alarm(lines: list[str]) -> str:
    return next(line for line in lines if line.startswith("  alarm 1 "))


def test_a_fall_of_votes_and_of_a_judge_is_a_line_each(tmp_path: Path) -> None:
    rows = [*votes("ada", 0.9, 0.6), *scored("ada", "judge", 0.8, 0.5, a_day=30)]
    lines = lines_of(tmp_path, rows)
    assert "day 31: short 0.5" in first_alarm(lines)
    assert [line.split(":")[0] for line in lines if line.startswith("ada")] == [
        "ada judge",
        "ada thumbs v1",
    ]
    assert sum(line.startswith("  alarm 1 ") for line in lines) == 2


def test_what_a_file_lacks_is_said(tmp_path: Path) -> None:
    other = [("stars", "ada", "v1", "short", "", 1, 0.5, "rating")]
    assert lines_of(tmp_path, [*votes("ada", 0.9, 0.9), *other])[-1] == (
        "left out: 1 values of kind rating"
    )
    pl.DataFrame({"stream": ["thumbs"]}).write_parquet(tmp_path / "few.parquet")
    with pytest.raises(ColumnNotFoundError):
        told(tmp_path / "few.parquet")
