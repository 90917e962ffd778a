"""Test finding the best version ever released."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.model_versions import build_version
from twin_assets.evaluation.best_released import find_best_released, read_stored_ratio
from twin_assets.evaluation.report.evaluation_record import (
    Evaluation,
    evaluation_path,
    write_evaluation,
)
from twin_resources.errors import TwinError
from twin_resources.registry.moves import ModelVersion


def write_record(
    folder: Path, ratio: float | None, *, gate: str = "gate-9", is_first_verdict: bool = False
) -> None:
    evaluation = Evaluation("c", "r", (), precision="fp32", seconds={}, ratio_to_base=ratio)
    path = evaluation_path(folder, gate)
    write_evaluation(path.with_stem(f"{gate}-first") if is_first_verdict else path, evaluation)


def make_version(tmp_path: Path, number: int, ratio: float | None, **fields: Any) -> ModelVersion:
    folder = tmp_path / f"c{number}"
    write_record(folder, ratio)
    values = {"state": "retired", "checkpoint": f"c{number}", "folder": str(folder)}
    return build_version(version=number, **(values | fields))


def test_the_lowest_ratio_of_a_released_version_wins(tmp_path: Path) -> None:
    best, second_best = (
        make_version(tmp_path, 1, 0.68),
        make_version(tmp_path, 2, 0.71, state="stable"),
    )
    candidate = make_version(tmp_path, 3, 0.6, state="candidate")

    assert find_best_released([best, second_best, candidate], candidate=candidate) == best
    assert find_best_released([best, second_best], candidate=best) == second_best, (
        "a candidate was compared with itself"
    )
    assert find_best_released([candidate], candidate=candidate) is None


@pytest.mark.parametrize("fields", [
    {"state": "refused"}, {"state": "rolled_back"}, {"state": "parked"}, {"forced": True},
    {"tainted": True}, {"kind": "answer_model"}, {"base": "/another"},
])  # fmt: skip
def test_ineligible_versions_are_excluded(fields: dict[str, Any], tmp_path: Path) -> None:
    ineligible, other = make_version(tmp_path, 1, 0.5, **fields), make_version(tmp_path, 2, 0.7)
    candidate = make_version(tmp_path, 3, 0.6, state="candidate")

    assert find_best_released([ineligible, other, candidate], candidate=candidate) == other


def test_the_newest_full_evaluation_counts(tmp_path: Path) -> None:
    write_record(tmp_path, 0.7, gate="gate-9")
    write_record(tmp_path, 0.8, gate="gate-10", is_first_verdict=True)
    assert read_stored_ratio(tmp_path) == 0.8, (
        "a first verdict's record counted as a full evaluation"
    )
    write_record(tmp_path, 0.75, gate="gate-10")
    assert read_stored_ratio(tmp_path) == 0.75
    write_record(tmp_path, None, gate="gate-11")
    assert read_stored_ratio(tmp_path) == 0.75, "a record without a ratio counted"


def test_a_missing_evaluation_is_ignored_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    unevaluated = replace(make_version(tmp_path, 1, 0.5), folder=str(tmp_path / "gone"))
    candidate = make_version(tmp_path, 3, 0.6, state="candidate")

    assert find_best_released([unevaluated], candidate=candidate) is None
    path = evaluation_path(tmp_path / "c4", "gate-9")
    write_record(tmp_path / "c4", 0.7)
    path.write_text(path.read_text(encoding="utf-8").replace("0.7", '"x"'), encoding="utf-8")
    with pytest.raises(TwinError, match="delete the file"):
        read_stored_ratio(tmp_path / "c4")
