"""Test the asset checks that run the data tests: their metadata, and what a failure stops."""

from __future__ import annotations

import dagster as dg
import pytest

from tests.graph.analytics.conftest import Materialize, WriteInteractions, make_answer, make_votes
from tests.unit.analytics.conftest import FILES, WriteProject, write_project  # noqa: F401
from twin_assets.analytics.declarations import SqlProjectError
from twin_assets.analytics.sql_models import build_sql_assets
from twin_resources.storage.tables.tables import Tables


def read_failed_checks(result: dg.ExecuteInProcessResult) -> dict[str, int]:
    """Return the number of invalid rows by failed check."""
    return {
        item.check_name: item.metadata["wrong_rows"].value  # type: ignore[misc]
        for item in result.get_asset_check_evaluations()
        if not item.passed
    }


def list_materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    return {
        event.step_materialization_data.materialization.asset_key.to_user_string()
        for event in result.get_asset_materialization_events()
    }


def test_a_failed_error_test_stops_downstream_assets(
    write_interactions: WriteInteractions, materialize: Materialize, tables: Tables
) -> None:
    rows = [make_answer("ada", number, **make_votes(1.0, "r1")) for number in range(3)]
    write_interactions("ada", [*rows, make_answer("ada", 9, **make_votes(1.5, "r1"))])
    marts = ("requests", "quality_by_day")
    result = materialize(*marts, author="ada", raise_on_error=False)
    assert read_failed_checks(result) == {"vote_is_between_0_and_1": 1}
    assert list_materialized(result) == {"requests"}
    assert tables.read("requests", "ada").height == 4
    write_interactions("ada", rows)
    corrected = materialize(*marts, author="ada")
    assert read_failed_checks(corrected) == {}
    assert list_materialized(corrected) == set(marts)


def test_a_failed_warning_stops_nothing(
    write_interactions: WriteInteractions, materialize: Materialize
) -> None:
    write_interactions("ada", [make_answer("ada", 1, route="shadowed", latency_s=-1.0)])
    result = materialize("requests", "quality_by_day", author="ada")
    assert read_failed_checks(result) == {"route_is_known": 1, "latency_is_not_negative": 1}
    assert list_materialized(result) == {"requests", "quality_by_day"}
    checks = {item.check_name: item for item in result.get_asset_check_evaluations()}
    assert checks["route_is_known"].severity == dg.AssetCheckSeverity.WARN
    assert checks["unique_trace_id"].severity == dg.AssetCheckSeverity.ERROR
    assert "having count(*) > 1" in str(checks["unique_trace_id"].metadata["sql"].value)
    assert checks["unique_trace_id"].partition == "ada"


def test_rows_with_the_same_key_are_stored_and_fail_the_test(
    write_project: WriteProject,  # noqa: F811
    write_interactions: WriteInteractions,
    materialize: Materialize,
    tables: Tables,
) -> None:
    schema = """\
version: 2
sources:
  - name: feedback
    tables:
      - name: interactions
        columns: [{name: reader, data_type: varchar}]
models:
  - name: readers
    config: {unique_key: [reader]}
    columns: [{name: reader, data_type: varchar, data_tests: [unique, not_null]}]
"""
    sql = "select reader from {{ source('feedback', 'interactions') }}"
    folder = write_project({"models/schema.yml": schema, "models/readers.sql": sql})
    for name in ("cast_votes", "summed"):
        (folder / "models" / f"{name}.sql").unlink()
    write_interactions("ada", [make_answer("ada", n, reader=f"r{n % 2}") for n in range(3)])
    result = materialize(author="ada", assets=build_sql_assets(folder), raise_on_error=False)
    assert read_failed_checks(result) == {"unique_reader": 1}
    assert tables.read("readers", "ada").rows() == [("r0", "r0"), ("r0#2", "r0"), ("r1", "r1")]


def test_sql_that_does_not_run_fails_the_step_with_its_file(
    write_project: WriteProject,  # noqa: F811
    write_interactions: WriteInteractions,
    materialize: Materialize,
    tables: Tables,
) -> None:
    schema = FILES["models/schema.yml"].replace("name: raw", "name: feedback")
    schema = schema.replace("- name: votes", "- name: interactions").replace(
        "name: id,", "name: reader,", 1
    )
    schema = schema.replace(
        "{name: value, data_type: double}", "{name: vote, data_type: double}", 1
    )
    sql = FILES["models/cast_votes.sql"].replace("'raw', 'votes'", "'feedback', 'interactions'")
    folder = write_project({"models/schema.yml": schema, "models/cast_votes.sql": sql})
    write_interactions("ada", [make_answer("ada", 1)])
    with pytest.raises(SqlProjectError, match=r'(?s)models/cast_votes\.sql.*"value" not found'):
        materialize("cast_votes", author="ada", assets=build_sql_assets(folder))
    assert not tables.exists("cast_votes", "ada")


def test_each_mart_has_a_code_version() -> None:
    assert all(spec.code_version for asset in build_sql_assets() for spec in asset.specs)
