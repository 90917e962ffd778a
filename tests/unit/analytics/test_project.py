"""Test reading a SQL project: its models, and errors that name the file."""

from __future__ import annotations

import json
import subprocess
import sys
from graphlib import CycleError

import pytest

from tests.unit.analytics.conftest import FILES, WriteProject
from twin_assets.analytics.declarations import SqlProjectError
from twin_assets.analytics.project import read_project

SCHEMA = "models/schema.yml"
VOTES = "models/cast_votes.sql"
SUMMED = "models/summed.sql"


def test_models_are_sorted_and_list_their_inputs(write_project: WriteProject) -> None:
    project = read_project(write_project())
    first, second = project.models
    assert (first.name, first.sources, first.refs) == ("cast_votes", (("raw", "votes"),), ())
    assert (second.name, second.sources, second.refs) == ("summed", (), ("cast_votes",))
    assert (first.partitions, second.partitions) == ("authors", "none")
    assert (first.unique_key, second.unique_key) == (("id",), ("id",))
    assert [test.name for test in first.tests] == ["unique_id", "not_null_id"]
    assert project.variables == {"least": 2}
    assert project.macro_files == ("macros/sums.sql",)


def test_the_code_version_depends_on_text_macros_and_variables(write_project: WriteProject) -> None:
    def read_code_hashes(files: dict[str, str]) -> tuple[str, ...]:
        return tuple(model.code_hash for model in read_project(write_project(files)).models)

    original = read_code_hashes({})
    assert read_code_hashes({}) == original
    edited = read_code_hashes({SUMMED: FILES[SUMMED] + "-- a comment\n"})
    assert (edited[0] == original[0], edited[1] == original[1]) == (True, False)
    for files in ({"macros/sums.sql": "\n"}, {"dbt_project.yml": "vars: {least: 3}\n"}):
        assert not set(read_code_hashes(files)) & set(original)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (SUMMED, "'cast_votes'", "'nope'", "summed.sql reads: no nope among cast_votes, summed"),
        (VOTES, "'votes'", "'nope'", "cast_votes.sql reads: no raw.nope among"),
        (SCHEMA, "unique_key: [id]}", "unique: [id]}", "models.0.config.unique_key: Field req"),
        (SCHEMA, "unique_key: [id]}", "unique_key: []}", "models.0.config.unique_key: Tuple"),
        (SCHEMA, "unique_key: [id]}", "unique_key: [nope]}", "unknown columns: nope"),
        (SCHEMA, "name: summed", "name: nope", "nope: a declaration without a file"),
        (SCHEMA, "data_tests", "tests", "models.0.columns.0.tests: Extra inputs"),
        (SCHEMA, "partitions: none", "partitions: days", "partitions: Input should be 'authors'"),
        (
            SCHEMA,
            "{name: total, data_type: double}",
            "{name: total}",
            "models.1.columns.1.data_type: Field req",
        ),
        (SCHEMA, "[unique, not_null]", "[unique, unique]", "duplicate data tests unique_id"),
        (SCHEMA, "[unique, not_null]", "[unique: {config: {severity: loud}}]", "(loud)"),
        (SCHEMA, "[unique, not_null]", "[unique: {name: not so}]", "(not so)"),
        (
            SCHEMA,
            "double}\nmodels",
            "double, data_tests: [unique]}\nmodels",
            "sources.0.tables.0.columns.1.data_tests",
        ),
        (SCHEMA, "version: 2", "version: [2", "expected ',' or ']'"),
        (SCHEMA, None, "- 1\n", "schema.yml: not a mapping"),
    ],
)
def test_project_errors_name_the_file(
    write_project: WriteProject, file: str, old: str | None, new: str, message: str
) -> None:
    text = new if old is None else FILES[file].replace(old, new)
    with pytest.raises(SqlProjectError) as error:
        read_project(write_project({file: text}))
    assert message in f"{error.value.tried}: {error.value.found}"


def test_an_undeclared_file_is_reported(write_project: WriteProject) -> None:
    with pytest.raises(SqlProjectError, match="a file without a declaration"):
        read_project(write_project({"models/more.sql": FILES[SUMMED]}))


def test_a_cycle_of_refs_is_refused(write_project: WriteProject) -> None:
    files = {"models/cast_votes.sql": FILES[SUMMED].replace("'cast_votes'", "'summed'")}
    schema = {"models/schema.yml": FILES[SCHEMA].replace("partitions: none", "partitions: authors")}
    with pytest.raises(CycleError, match="cast_votes"):
        read_project(write_project(files | schema))


def test_jinja_comments_are_ignored(write_project: WriteProject) -> None:
    sql = "{# {{ ref('nope') }}\n#}" + FILES[SUMMED]
    project = read_project(write_project({"models/summed.sql": sql}))
    assert project.get_model("summed").refs == ("cast_votes",)


@pytest.mark.long
def test_building_the_assets_loads_no_jinja_or_duckdb() -> None:
    code = (
        "import json, sys, dagster\n"
        "import twin_assets.analytics.sql_models as models\n"
        "print(json.dumps([len(models.build_sql_assets()), sorted(sys.modules)]))"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    asset_count, loaded_modules = json.loads(completed.stdout.splitlines()[-1])
    assert asset_count == 3
    assert {"jinja2", "duckdb", "lance"}.isdisjoint(loaded_modules)
