"""Reading a SQL project: what the graph is made of, and errors that name file and line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.unit.analytics.conftest import FILES, WriteProject
from twin_assets.analytics.project import read_project
from twin_assets.analytics.source_locations import SqlProjectError

SCHEMA = "models/schema.yml"
SETTINGS = "dbt_project.yml"
VOTES = "models/cast_votes.sql"
SUMMED = "models/summed.sql"


def test_a_project_is_models_in_order_with_what_they_read(write_project: WriteProject) -> None:
    project = read_project(write_project())
    first, second = project.models
    assert (first.name, first.sources, first.refs) == ("cast_votes", (("raw", "votes"),), ())
    assert (second.name, second.sources, second.refs) == ("summed", (), ("cast_votes",))
    assert (first.partitions, second.partitions) == ("authors", "none")
    assert (first.unique_key, second.unique_key) == (("id",), ("id",))
    assert [test.name for test in first.tests] == ["unique_id", "not_null_id"]
    assert project.variables == {"least": 2}
    assert project.macro_files == ("macros/sums.sql",)


def test_the_code_of_a_model_changes_with_its_text_its_macros_and_variables(
    write_project: WriteProject,
) -> None:
    def codes(changed: dict[str, str]) -> tuple[str, ...]:
        return tuple(model.code for model in read_project(write_project(changed)).models)

    before = codes({})
    assert codes({}) == before
    own = codes({SUMMED: FILES[SUMMED] + "-- a comment\n"})
    assert (own[0] == before[0], own[1] == before[1]) == (True, False)
    for changed in ({"macros/sums.sql": "\n"}, {"dbt_project.yml": "vars: {least: 3}\n"}):
        assert not set(codes(changed)) & set(before)


@pytest.mark.parametrize(
    ("file", "old", "new", "at", "said"),
    [
        (SUMMED, "'cast_votes'", "'nope'", "models/summed.sql:6", "cast_votes, summed"),
        (VOTES, "'votes'", "'nope'", "models/cast_votes.sql:4", "raw.votes"),
        (VOTES, "'raw', ", "", "models/cast_votes.sql:4", "arguments ('votes',)"),
        (SUMMED, "'cast_votes'", "name", "models/summed.sql:6", "no constants"),
        (
            SUMMED,
            "from {{ ref('cast_votes')",
            "from\n{{ upper(ref('cast_votes'))",
            "models/summed.sql:7",
            "larger expression",
        ),
        (SUMMED, "'table'", "'view'", "models/summed.sql:1", "materialized='view'"),
        (SUMMED, "unique_key", "unique", "models/summed.sql:1", "unique=['id']"),
        (SUMMED, ", unique_key=['id']", "", "models/summed.sql:1", "no unique_key"),
        (SUMMED, "['id']", "['nope']", "models/summed.sql:1", "['id', 'total']"),
        (
            SCHEMA,
            "models:",
            "models:\n  - {name: a, columns: [{name: b, data_type: int}]}",
            "models/schema.yml:11",
            "no a.sql",
        ),
        (SCHEMA, "name: summed", "name: nope", "models/summed.sql:1", "no word of it"),
        (SCHEMA, "data_tests", "tests", "models/schema.yml:15", "the key 'tests'"),
        (SCHEMA, "partitions: none", "partitions: days", "models/schema.yml:18", "'days'"),
        (SCHEMA, "store: tables", "store: s3", "models/schema.yml:4", "'s3'"),
        (
            SCHEMA,
            "{name: total, data_type: double}",
            "{name: total}",
            "models/schema.yml:21",
            "None",
        ),
        (SCHEMA, "[unique, not_null]", "[unique, unique]", "models/schema.yml", "unique_id at"),
        (
            SCHEMA,
            "[unique, not_null]",
            "[unique: {config: {severity: loud}}]",
            "models/schema.yml:15",
            "'loud'",
        ),
        (
            SCHEMA,
            "[unique, not_null]",
            "[unique: {name: not so}]",
            "models/schema.yml:15",
            "'not so'",
        ),
        (
            SCHEMA,
            "data_type: double}\nmodels",
            "data_type: double, data_tests: [unique]}\nmodels",
            "models/schema.yml",
            "data test at models/schema.yml:9",
        ),
        (SCHEMA, "version: 2", "version: [2", "models/schema.yml:2", "expected ',' or ']'"),
        (SCHEMA, None, "- 1\n", "models/schema.yml:1", "no mapping"),
        (SETTINGS, None, "vars: [1]\n", "dbt_project.yml:1", "[1]"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(
    write_project: WriteProject, file: str, old: str | None, new: str, at: str, said: str
) -> None:
    text = new if old is None else FILES[file].replace(old, new)
    with pytest.raises(SqlProjectError) as caught:
        read_project(write_project({file: text}))
    assert str(caught.value.place).startswith(at)
    assert f"({caught.value.place})" in str(caught.value)
    assert said in caught.value.found


@pytest.mark.parametrize(
    ("file", "at", "said"),
    [
        ("models/more.sql", "models/more.sql:1", "no word of it"),
        ("models/deep/summed.sql", "models/summed.sql:1", "a second model"),
    ],
)
def test_a_file_too_many_is_told(
    write_project: WriteProject, file: str, at: str, said: str
) -> None:
    with pytest.raises(SqlProjectError, match=said) as caught:
        read_project(write_project({file: FILES[SUMMED]}))
    assert str(caught.value.place) == at


def test_a_circle_of_refs_is_refused(write_project: WriteProject) -> None:
    changed = {"models/cast_votes.sql": FILES[SUMMED].replace("'cast_votes'", "'summed'")}
    schema = {
        "models/schema.yml": FILES[SCHEMA].replace("{partitions: none}", "{partitions: authors}")
    }
    with pytest.raises(SqlProjectError, match=r"circle: .* → ") as caught:
        read_project(write_project(changed | schema))
    assert caught.value.place.file.startswith("models/")


def test_a_model_of_one_author_cannot_read_one_of_all(write_project: WriteProject) -> None:
    changed = {
        "models/more.sql": FILES[SUMMED].replace("'cast_votes'", "'summed'"),
        "models/schema.yml": FILES[SCHEMA]
        + "  - name: more\n    columns: [{name: id, data_type: varchar}]\n",
    }
    with pytest.raises(SqlProjectError, match="one table over all authors") as caught:
        read_project(write_project(changed))
    assert str(caught.value.place) == "models/more.sql:6"


def test_a_comment_of_jinja_is_not_read(write_project: WriteProject) -> None:
    commented = "{# {{ ref('nope') }}\n#}" + FILES[SUMMED]
    project = read_project(write_project({"models/summed.sql": commented}))
    assert project.model("summed").refs == ("cast_votes",)


def test_building_the_assets_loads_no_jinja_sqlglot_or_duckdb() -> None:
    code = (
        "import json, sys, dagster\n"
        "import twin_assets.analytics.sql_models as of\n"
        "print(json.dumps([len(of.marts), sorted(sys.modules)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    number, loaded = json.loads(done.stdout.splitlines()[-1])
    assert number == 5
    assert {"jinja2", "sqlglot", "duckdb", "lance"}.isdisjoint(loaded)
