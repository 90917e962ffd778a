"""Test rendering Jinja templates with dbt's functions, and errors in templates."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.analytics.conftest import FILES
from twin_assets.analytics.declarations import SqlProjectError
from twin_assets.analytics.rendering import RenderedSql, Renderer

SUMMED = "models/summed.sql"
SUMS = "macros/sums.sql"
BuildRenderer = Callable[..., Renderer]


def render_model(renderer: Renderer, name: str) -> RenderedSql:
    return renderer.render_model(renderer.project.get_model(name))


def test_functions_become_relations_and_values(build_renderer: BuildRenderer) -> None:
    sql = render_model(build_renderer(), "cast_votes")
    assert sql.sql.split("\n") == ["select id, value", 'from "raw"."votes"', "where value >= 2"]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (SUMMED, "group by id", "{% if %}", "models/summed.sql:5: Expected an expression"),
        (SUMMED, "group by id", "\n{{ nope }}", "models/summed.sql: 'nope' is undefined"),
        (SUMMED, "group by id", "{{ var('nope') }}", "models/summed.sql: no variable 'nope'"),
        (SUMMED, "'value'", "", "parameter 'column' was not provided"),
        (SUMMED, "total('value')", "total(1, 2, 3)", "takes not more than 1 argument"),
        (SUMS, None, "\n{% macro total %}", "macros/sums.sql:2: expected token '('"),
    ],
)
def test_template_errors_name_the_file(
    build_renderer: BuildRenderer, file: str, old: str | None, new: str, message: str
) -> None:
    text = new if old is None else FILES[file].replace(old, new)
    with pytest.raises(SqlProjectError) as error:
        render_model(build_renderer({file: text}), "summed")
    assert message in f"{error.value.tried}: {error.value.found}"
