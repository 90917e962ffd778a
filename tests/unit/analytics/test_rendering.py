"""Jinja with dbt's words: what comes out, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.analytics.conftest import FILES
from twin_assets.analytics.declarations import SqlProjectError
from twin_assets.analytics.reads import check_reads
from twin_assets.analytics.rendering import RenderedSql, Renderer

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


def test_a_macro_is_known_in_every_model(renderer_of: RendererOf) -> None:
    made = rendered(renderer_of(), "summed")
    assert made.sql.split("\n") == [
        "select",
        "    id,",
        "    sum(value) as total",
        'from "cast_votes"',
        "group by id",
    ]


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (SUMMED, "group by id", "{% if %}", "models/summed.sql:7: Expected an expression"),
        (SUMMED, "group by id", "\n{{ nope }}", "models/summed.sql: 'nope' is undefined"),
        (SUMMED, "group by id", "{{ var('nope') }}", "models/summed.sql: no variable 'nope'"),
        (SUMMED, "'value'", "", "parameter 'column' was not provided"),
        (SUMMED, "total('value')", "total(1, 2, 3)", "takes not more than 1 argument"),
        (SUMS, None, "\n{% macro total %}", "macros/sums.sql:2: expected token '('"),
        (
            SUMMED,
            "{{ ref('cast_votes') }}",
            "{% if var('least') > 9 %}{{ ref('cast_votes') }}{% endif %}",
            "models/summed.sql: it reads nothing when rendered, but cast_votes as written",
        ),
        (
            SUMMED,
            "{{ ref('cast_votes') }}",
            "{{ ref('cast_' ~ 'votes') }}",
            "models/summed.sql: it reads cast_votes when rendered, but nothing as written",
        ),
    ],
)
def test_a_template_that_cannot_be_rendered_names_its_file(
    renderer_of: RendererOf, file: str, old: str | None, new: str, said: str
) -> None:
    text = new if old is None else FILES[file].replace(old, new)
    with pytest.raises(SqlProjectError) as caught:
        rendered(renderer_of({file: text}), "summed")
    assert said in f"{caught.value.tried}: {caught.value.found}"


def reads(sql: str) -> RenderedSql:
    return RenderedSql("models/m.sql", sql)


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
    ("sql", "said"),
    [
        ('select 1\nfrom "a"\njoin other using (id)', "the table other"),
        ('select 1 from "a"\nwhere id in (select id\nfrom main."a")', "the table main.a"),
        ("select 1 from \"a\",\nread_csv('/etc/passwd')", "READ_CSV"),
        ("select 1 from \"a\",\n'x.parquet'", "x.parquet"),
        ('select 1 from "a",\nrange(3)', "RANGE"),
        ("select 1", "nothing is read from a"),
        ("with a as (select 1)\nselect * from a", "nothing is read from a"),
        ('select 1\nfrm "a" x', "Line 2"),
        ('select 1 from "a"; drop table a', "2 statements"),
        ('create table x as select 1 from "a"', "no query: Create"),
        ('select \'x from "a"', "Error tokenizing"),
    ],
)
def test_a_query_that_reads_anything_else_is_refused(sql: str, said: str) -> None:
    with pytest.raises(SqlProjectError) as caught:
        check_reads(reads(sql), {("", "a")})
    assert said in caught.value.found
    assert "models/m.sql" in caught.value.tried
