"""Jinja with dbt's words: what comes out, where it came from, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.analytics.conftest import FILES
from twin_assets.analytics.reads import check_reads
from twin_assets.analytics.rendering import RenderedSql, Renderer
from twin_assets.analytics.source_locations import SourceLocation, SqlProjectError

SUMMED = "models/summed.sql"
SUMS = "macros/sums.sql"
RendererOf = Callable[..., Renderer]


def rendered(renderer: Renderer, name: str) -> RenderedSql:
    return renderer.model(renderer.project.model(name))


def test_words_become_relations_and_values(renderer_of: RendererOf) -> None:
    made = rendered(renderer_of(), "cast_votes")
    assert made.sql.split("\n") == [
        "select id, value",
        'from "raw"."votes"',
        "where value >= 2",
    ]
    assert (made.sources, made.refs) == ({("raw", "votes")}, frozenset())
    assert made.config == {"materialized": "table", "unique_key": "id"}


def test_each_line_knows_its_file_and_line_also_out_of_a_macro(renderer_of: RendererOf) -> None:
    text = FILES[SUMMED].replace(
        "    id,\n", "{% for name in ['id'] %}\n    {{ name }},\n{% endfor %}\n{# two\nlines #}"
    )
    made = rendered(renderer_of({SUMMED: text}), "summed")
    places = {
        line.strip(): str(place)
        for line, place in zip(made.sql.split("\n"), made.places, strict=True)
        if line.strip()
    }
    assert places == {
        "select": "models/summed.sql:3",
        "id,": "models/summed.sql:5",
        "sum(value) as total": "macros/sums.sql:2",
        'from "cast_votes"': "models/summed.sql:9",
        "group by id": "models/summed.sql:10",
    }


@pytest.mark.parametrize(
    ("file", "old", "new", "at", "said"),
    [
        (SUMMED, "group by id", "{% if %}", "models/summed.sql:7", "Expected an expression"),
        (SUMMED, "group by id", "\n{{ nope }}", "models/summed.sql:8", "'nope' is undefined"),
        (SUMMED, "group by id", "{{ var('nope') }}", "models/summed.sql:7", "no variable 'nope'"),
        (SUMMED, "'value'", "", "macros/sums.sql:2", "parameter 'column' was not provided"),
        (
            SUMMED,
            "total('value')",
            "total(1, 2, 3)",
            "models/summed.sql:5",
            "takes not more than 1 argument",
        ),
        (
            SUMS,
            None,
            "\n{% macro total(x) %}\n\n{{ var('no') }}{% endmacro %}",
            "macros/sums.sql:4",
            "no variable 'no'",
        ),
        (SUMS, None, "\n{% macro total %}", "macros/sums.sql:2", "expected token '('"),
        (
            SUMMED,
            "{{ ref('cast_votes') }}",
            "{% if var('least') > 9 %}{{ ref('cast_votes') }}{% endif %}",
            "models/summed.sql:1",
            "it reads nothing when rendered, but cast_votes as written",
        ),
    ],
)
def test_a_template_that_cannot_be_rendered_names_its_line(
    renderer_of: RendererOf, file: str, old: str | None, new: str, at: str, said: str
) -> None:
    text = new if old is None else FILES[file].replace(old, new)
    with pytest.raises(SqlProjectError) as caught:
        rendered(renderer_of({file: text}), "summed")
    assert (str(caught.value.place), said in caught.value.found) == (at, True), caught.value


def reads(sql: str) -> RenderedSql:
    lines = sql.count("\n") + 1
    places = tuple(SourceLocation("m.sql", 10 + number) for number in range(1, lines + 1))
    return RenderedSql("m", sql, places, frozenset(), frozenset(), {})


@pytest.mark.parametrize(
    "sql",
    [
        'select * from "a" join "raw"."b" using (id)',
        'with a as (select * from "a") select * from a where id in (select id from "raw"."b")',
        'select (select max(id) from "raw"."b") from "a" as other',
        'select * from "a" union all select * from "raw"."b"',
    ],
)
def test_a_query_may_read_its_refs_and_sources_in_any_form(sql: str) -> None:
    check_reads(reads(sql), {("", "a"), ("raw", "b")})
    with pytest.raises(SqlProjectError):
        check_reads(reads(sql), {("", "a")})


@pytest.mark.parametrize(
    ("sql", "line", "said"),
    [
        ('select 1\nfrom "a"\njoin other using (id)', 13, "the table other"),
        ('select 1 from "a"\nwhere id in (select id\nfrom main."a")', 13, "the table main.a"),
        ("select 1 from \"a\",\nread_csv('/etc/passwd')", 11, "READ_CSV"),
        ("select 1 from \"a\",\n'x.parquet'", 12, "x.parquet"),
        ('select 1 from "a",\nrange(3)', 11, "RANGE"),
        ("select 1", 11, "nothing is read from a"),
        ("with a as (select 1)\nselect * from a", 11, "nothing is read from a"),
        ('select 1\nfrm "a" x', 12, "near"),
        ('select 1 from "a"; drop table a', 11, "2 statements"),
        ('create table x as select 1 from "a"', 11, "no query: Create"),
        ('select \'x from "a"', 11, "Error tokenizing"),
    ],
)
def test_a_query_that_reads_anything_else_is_refused(sql: str, line: int, said: str) -> None:
    with pytest.raises(SqlProjectError) as caught:
        check_reads(reads(sql), {("", "a")})
    assert (caught.value.place.line, said in caught.value.found) == (line, True), caught.value
