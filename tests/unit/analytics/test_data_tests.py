"""Test that each data test of schema.yml passes on good rows and fails on invalid rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from tests.unit.analytics.conftest import FILES
from twin_assets.analytics.declarations import SqlProjectError
from twin_assets.analytics.duckdb_session import DuckDBSession
from twin_assets.analytics.mart import render_test
from twin_assets.analytics.project import PROJECT_FOLDER, Model, Project, read_project
from twin_assets.analytics.rendering import Renderer
from twin_resources.registry.route_names import (
    BASE,
    FALLBACK_PREFIX,
    PAID,
    QUOTES,
    ROUTED_PREFIX,
)

Row = dict[str, Any]

GOOD_ROWS: dict[str, Row] = {
    "requests": {
        "trace_id": "t1",
        "author": "ada",
        "started_at": "2026-03-01 12:00:00+00",
        "day": "2026-03-01",
        "version": "v1",
        "checkpoint": "c1",
        "route": "stable",
        "propensity": 0.9,
        "prompt_class": "question",
        "template": "t",
        "reader": "r1",
        "passages": 2,
        "latency_s": 1.0,
        "cost_usd": 0.001,
        "degraded_because": "",
        "is_degraded": False,
        "is_simulated": False,
        "is_batch": False,
        "vote": 1.0,
        "votes": 1,
        "voters": ["r1"],
        "judged": 0.5,
        "judgements": 1,
        "is_edited": False,
        "is_edited_by_author": False,
    },
    "quality_by_day": {
        "author": "ada",
        "day": "2026-03-01",
        "version": "v1",
        "prompt_class": "question",
        "measure": "thumbs",
        "is_simulated": False,
        "n": 10,
        "mean": 0.8,
        "low": 0.49,
        "high": 0.94,
        "method": "wilson",
        "n_effective": 10.0,
    },
    "cost_by_day": {
        "author": "ada",
        "day": "2026-03-01",
        "route": "stable",
        "is_simulated": False,
        "answers": 10,
        "priced": 9,
        "cost_usd": 0.01,
        "cost_usd_per_answer": 0.001,
        "latency_s_median": 1.0,
        "latency_s_p95": 2.0,
        "degraded": 0,
        "readers": 3,
    },
}

# (model, test) → changes of the good row that violate the test
INVALID_CHANGES: dict[tuple[str, str], list[Row]] = {
    ("requests", "unique_trace_id"): [{"author": "bob"}],
    ("requests", "not_null_trace_id"): [{"trace_id": None}],
    ("requests", "not_null_author"): [{"author": None}],
    ("requests", "not_null_started_at"): [{"started_at": None}],
    ("requests", "route_is_known"): [{"route": "o'clock"}],
    ("requests", "propensity_is_a_probability"): [{"propensity": 1.01}],
    ("requests", "latency_is_not_negative"): [{"latency_s": -0.1}],
    ("requests", "cost_is_not_negative"): [{"cost_usd": -0.001}],
    ("requests", "vote_is_between_0_and_1"): [{"vote": float("nan")}],
    ("requests", "judgement_is_between_0_and_1"): [{"judged": 5.0}],
    ("requests", "a_vote_has_a_voter"): [{"voters": []}],
    ("quality_by_day", "accepted_values_measure"): [{"measure": "vibes"}],
    ("quality_by_day", "accepted_values_method"): [{"method": "by eye"}],
    ("quality_by_day", "one_row_a_day_class_version_and_measure"): [{"n": 11}],
    ("quality_by_day", "the_interval_holds_the_mean"): [{"mean": 0.95}],
    ("cost_by_day", "not_null_author"): [{"author": None}],
    ("cost_by_day", "cost_is_not_negative"): [{"cost_usd": -1.0}],
    ("cost_by_day", "one_row_a_day_author_and_route"): [{"answers": 11}],
    ("cost_by_day", "most_answers_have_a_price"): [{"priced": 8}],
}


@pytest.fixture(scope="module")
def project() -> Project:
    return read_project()


@pytest.fixture(scope="module")
def renderer(project: Project) -> Renderer:
    return Renderer(project)


def count_invalid_rows(renderer: Renderer, model: Model, name: str, rows: list[Row]) -> int:
    test = next(item for item in model.tests if item.name == name)
    with DuckDBSession() as session:
        frame = pl.DataFrame(rows, infer_schema_length=None)
        session.register(("", model.name), frame, model.columns)
        return session.query_rows(render_test(renderer, model, test)).height


def test_every_data_test_has_an_example_of_invalid_rows(project: Project) -> None:
    declared_tests = {(model.name, test.name) for model in project.models for test in model.tests}
    assert set(INVALID_CHANGES) == declared_tests
    assert set(GOOD_ROWS) == {model.name for model in project.models}


@pytest.mark.parametrize(("model", "test"), sorted(INVALID_CHANGES))
def test_data_tests_fail_only_on_invalid_rows(
    project: Project, renderer: Renderer, model: str, test: str
) -> None:
    good, model_declaration = GOOD_ROWS[model], project.get_model(model)
    assert count_invalid_rows(renderer, model_declaration, test, [good]) == 0
    bad = [good | change for change in INVALID_CHANGES[model, test]]
    assert count_invalid_rows(renderer, model_declaration, test, [good, *bad]) == 1


@pytest.mark.parametrize(
    "route",
    [
        *("stable", "canary", BASE, PAID, QUOTES),
        *(f"alias:{arm}" for arm in ("stable", "canary", BASE, PAID)),
        *(f"{ROUTED_PREFIX}{PAID}", f"{FALLBACK_PREFIX}{PAID}"),
    ],
)
def test_each_route_of_the_gateway_is_known(
    project: Project, renderer: Renderer, route: str
) -> None:
    rows = [GOOD_ROWS["requests"] | {"route": route}]
    assert count_invalid_rows(renderer, project.get_model("requests"), "route_is_known", rows) == 0


@pytest.fixture
def run_test(build_renderer: Callable[..., Renderer]) -> Callable[[str], int]:
    """Return a function that counts the invalid rows of a data test of `summed`."""

    def run(test: str) -> int:
        schema = FILES["models/schema.yml"] + f"    data_tests: [{test}]\n"
        generic = "tests/generic/expression_is_true.sql"
        text = (PROJECT_FOLDER / generic).read_text(encoding="utf-8")
        renderer = build_renderer({"models/schema.yml": schema, generic: text})
        model = renderer.project.get_model("summed")
        with DuckDBSession() as session:
            for name, column in (("summed", "total"), ("cast_votes", "value")):
                ids = ["a", "b"] if name == "cast_votes" else ["b", "c"]
                columns = renderer.project.get_model(name).columns
                frame = pl.DataFrame({"id": ids, column: [1.0, -1.0]})
                session.register(("", name), frame, columns)
            return session.query_rows(render_test(renderer, model, model.tests[0])).height

    return run


@pytest.mark.parametrize(
    ("test", "wrong_count"),
    [
        ("expression_is_true: {arguments: {expression: total > 0}}", 1),
        ("expression_is_true: {arguments: {expression: total > 0}, config: {where: id = 'b'}}", 0),
        ("accepted_values: {arguments: {column_name: total, values: [1, 2], quote: false}}", 1),
    ],
)
def test_arguments_reach_the_sql(
    run_test: Callable[[str], int], test: str, wrong_count: int
) -> None:
    assert run_test(test) == wrong_count


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("nope", "no test of this name"),
        ("unique: {arguments: {columns: [id]}}", "columns"),
        ("accepted_values: {arguments: {column_name: nope, values: [1]}}", '"nope" not found'),
    ],
)
def test_a_data_test_that_cannot_run_is_reported(
    run_test: Callable[[str], int], test: str, message: str
) -> None:
    with pytest.raises(SqlProjectError) as error:
        run_test(test)
    assert message in str(error.value)
