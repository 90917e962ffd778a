"""DuckDB in memory: types as declared, errors with the template's line, nothing outside reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import polars as pl
import pytest
from polars.io.plugins import register_io_source

from tests.unit.analytics.test_rendering import reads
from twin_assets.analytics.declarations import Column
from twin_assets.analytics.duckdb_session import DuckDBSession
from twin_assets.analytics.mart import with_row_key
from twin_assets.analytics.rendering import Renderer
from twin_assets.analytics.source_locations import SourceLocation, SqlProjectError

AT = SourceLocation("models/schema.yml", 7)
VOTES = pl.DataFrame({"id": ["a Python variable is no table"]})
COLUMNS = (Column("id", "text", "", AT), Column("value", "double", "", AT))


@pytest.fixture
def session() -> Iterator[DuckDBSession]:
    with DuckDBSession() as opened:
        opened.register(("", "a"), pl.DataFrame({"id": ["x", "y"], "value": [1.0, 2.0]}), COLUMNS)
        yield opened


def test_only_the_columns_that_a_query_uses_are_read(session: DuckDBSession) -> None:
    read: list[list[str] | None] = []
    frame = pl.DataFrame({"id": ["x"], "value": [1.0], "text": ["SECRET"]})

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, _rows: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        read.append(columns)
        found = frame.select(columns or frame.columns)
        yield found if predicate is None else found.filter(predicate)

    lazy = register_io_source(source, schema=frame.schema)
    session.register(("raw", "votes"), lazy, COLUMNS)
    rows = session.rows(reads('select value from "raw"."votes"'))
    assert rows.to_dicts() == [{"value": 1.0}]
    assert read == [["value"]]


def test_a_table_that_nobody_made_has_its_columns_and_no_rows(session: DuckDBSession) -> None:
    session.register_empty(("raw", "votes"), COLUMNS)
    rows = session.rows(reads('select * from "raw"."votes"'))
    assert (rows.height, rows.schema) == (0, {"id": pl.String, "value": pl.Float64})


@pytest.mark.parametrize(
    ("sql", "line", "said"),
    [
        ('select\n nope\nfrom "a"', 12, '"nope" not found'),
        ('select id from "a"\nunion all\nselect nope.id from "a"', 13, '"nope" not found'),
        ("select\n 'ä' as ä,\n nofunction(id) from \"a\"", 13, "nofunction"),
        ('select\n\n id::int from "a"', 13, "Could not convert"),
        ('select id, sum(value)\nfrom "a"', 11, "GROUP BY"),
    ],
)
def test_an_error_of_the_database_names_the_line(
    session: DuckDBSession, sql: str, line: int, said: str
) -> None:
    with pytest.raises(SqlProjectError) as caught:
        session.rows(reads(sql))
    assert (caught.value.place.line, said in caught.value.found) == (line, True), caught.value


def test_an_error_in_a_macro_names_the_macro(renderer_of: Callable[..., Renderer]) -> None:
    changed = {"macros/sums.sql": "{% macro total(x) -%}\nsum(nope)\n{%- endmacro %}"}
    renderer = renderer_of(changed)
    made = renderer.model(renderer.project.model("summed"))
    with DuckDBSession() as session:
        session.register_empty(("", "cast_votes"), renderer.project.model("cast_votes").columns)
        with pytest.raises(SqlProjectError, match=r"macros/sums\.sql:2"):
            session.rows(made)


@pytest.mark.parametrize(
    "sql",
    ["select * from read_csv('/etc/passwd')", "select * from 'x.parquet'", "select * from VOTES"],
)
def test_no_file_and_no_python_variable_is_reached(session: DuckDBSession, sql: str) -> None:
    with pytest.raises(SqlProjectError, match=r"disabled by configuration|does not exist"):
        session.rows(reads(sql))


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ('select id, 1 as value from "a"', "gives value INTEGER, declared is value DOUBLE"),
        ('select value, id from "a"', "gives value DOUBLE, declared is id VARCHAR"),
        ('select id from "a"', "gives 1 columns, the last ones missing"),
        ('select id, value, 1 as more from "a"', "gives 3 columns, more"),
    ],
)
def test_another_shape_than_declared_is_refused(
    session: DuckDBSession, sql: str, said: str
) -> None:
    made = reads(sql)
    session.rows(made)
    with pytest.raises(SqlProjectError) as caught:
        session.check_types(made, COLUMNS)
    assert (caught.value.place, said in caught.value.found) == (AT, True), caught.value
    assert "m.sql:11" in str(caught.value)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (Column("nope", "double", "", AT), "a table raw.votes with id"),
        (Column("id", "nonsense", "", AT), "nonsense"),
    ],
)
def test_a_source_that_is_not_as_declared_is_refused(
    session: DuckDBSession, column: Column, said: str
) -> None:
    with pytest.raises(SqlProjectError, match=said) as caught:
        session.register(("raw", "votes"), pl.DataFrame({"id": ["x"]}), [column])
    assert caught.value.place == AT


def test_sums_are_the_same_bit_for_bit_in_every_run() -> None:
    frame = pl.DataFrame({"id": ["x"] * 200_000, "value": [1 / (n + 1) for n in range(200_000)]})
    found = set()
    for _ in range(3):
        with DuckDBSession() as session:
            session.register(("", "a"), frame, COLUMNS)
            found.add(session.rows(reads('select sum(value) as s from "a"'))["s"][0])
    assert len(found) == 1


def test_rows_that_share_their_key_are_numbered_whatever_their_order() -> None:
    rows = pl.DataFrame({"id": ["x", "y", "x", None], "value": [2.0, 1.0, 1.0, 0.0]})
    made = with_row_key(rows, ["id"])
    assert sorted(made["row_key"].to_list()) == ["x", "x#2", "y", "∅"]
    again = with_row_key(rows.reverse(), ["id"])
    assert made.sort("row_key").equals(again.sort("row_key"))
    assert with_row_key(rows.head(2), ["id", "value"])["row_key"].to_list() == ["x/2.0", "y/1.0"]
