"""Test the recipe "A mart" of `deploy/docs/contributing.md` in a copy of the project."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from tests.graph.analytics.conftest import NOON, Materialize, WriteInteractions, make_answer
from tests.recipes import read_code_blocks
from twin_assets.analytics.project import PROJECT_FOLDER
from twin_assets.analytics.sql_models import build_sql_assets
from twin_resources.storage.tables.tables import Tables
from twin_sensors.jobs import CROSS_AUTHOR_MARTS, MARTS

TITLE = "A mart"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "marts"
    shutil.copytree(PROJECT_FOLDER, folder)
    (folder / "models" / "readers.sql").write_text(read_code_blocks(TITLE, "sql")[0], "utf-8")
    with (folder / "models" / "schema.yml").open("a", encoding="utf-8") as file:
        file.write("\n" + read_code_blocks(TITLE, "yaml")[0])
    return folder


def test_a_mart_is_built_and_checked(
    project: Path, write_interactions: WriteInteractions, materialize: Materialize, tables: Tables
) -> None:
    answers = [make_answer("ada", 1), make_answer("ada", 2), make_answer("ada", 3, reader="r2")]
    write_interactions("ada", [*answers, make_answer("ada", 4, simulated=True)])
    result = materialize("requests", "readers", author="ada", assets=build_sql_assets(project))
    rows = tables.read("readers", "ada", columns=["reader", "answers", "last_asked_at"])
    assert rows.sort("reader").rows() == [
        ("r1", 2, NOON + timedelta(seconds=2)),
        ("r2", 1, NOON + timedelta(seconds=3)),
    ]
    checks = [
        check
        for check in result.get_asset_check_evaluations()
        if check.asset_key.path == ["readers"]
    ]
    assert {check.check_name for check in checks} == {
        "not_null_author",
        "not_null_reader",
        "unique_reader",
    }
    assert all(check.passed for check in checks)


def test_the_jobs_include_a_new_mart(project: Path) -> None:
    before, after = build_sql_assets(), build_sql_assets(project)
    by_author = MARTS - CROSS_AUTHOR_MARTS
    added_assets = {key.path[-1] for key in by_author.resolve(after) - by_author.resolve(before)}
    assert added_assets == {"readers"}
    assert {key.path[-1] for key in CROSS_AUTHOR_MARTS.resolve(after)} == {"cost_by_day"}
