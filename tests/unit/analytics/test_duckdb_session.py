"""Test DuckDB in memory: declared types, errors with the SQL line, and no access to files."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
import pytest
from polars.io.plugins import register_io_source

from twin_assets.analytics.declarations import Column, SqlProjectError
from twin_assets.analytics.duckdb_session import DuckDBSession
from twin_assets.analytics.mart import add_row_key
from twin_assets.analytics.rendering import RenderedSql

VOTES = pl.DataFrame({"id": ["a Python variable is not a table"]})
COLUMNS = (Column(name="id", data_type="text"), Column(name="value", data_type="double"))


def build_query(sql: str) -> RenderedSql:
    return RenderedSql("models/m.sql", sql)


@pytest.fixture
def session() -> Iterator[DuckDBSession]:
    with DuckDBSession() as session:
        session.register(("", "a"), pl.DataFrame({"id": ["x", "y"], "value": [1.0, 2.0]}), COLUMNS)
        yield session


def test_only_the_columns_that_a_query_uses_are_read(session: DuckDBSession) -> None:
    read_columns: list[list[str] | None] = []
    frame = pl.DataFrame({"id": ["x"], "value": [1.0], "text": ["SECRET"]})

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, _rows: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        read_columns.append(columns)
        selected = frame.select(columns or frame.columns)
        yield selected if predicate is None else selected.filter(predicate)

    lazy_frame = register_io_source(source, schema=frame.schema)
    session.register(("raw", "votes"), lazy_frame, COLUMNS)
    rows = session.query_rows(build_query('select value from "raw"."votes"'))
    assert rows.to_dicts() == [{"value": 1.0}]
    assert read_columns == [["value"]]


@pytest.mark.parametrize(
    ("sql", "line", "message"),
    [
        ('select\n nope\nfrom "a"', " nope", '"nope" not found'),
        ('select id from "a"\nunion all\nselect nope.id from "a"', "select nope.id", "nope"),
        ("select\n 'ä' as ä,\n nofunction(id) from \"a\"", "nofunction(id)", "nofunction"),
        ('select id, sum(value)\nfrom "a"', "select id, sum", "GROUP BY"),
    ],
)
def test_a_database_error_shows_the_line_of_sql(
    session: DuckDBSession, sql: str, line: str, message: str
) -> None:
    with pytest.raises(SqlProjectError) as error:
        session.query_rows(build_query(sql))
    assert line in error.value.found
    assert message in error.value.found
    assert error.value.tried == "run models/m.sql"


@pytest.mark.parametrize(
    "sql",
    ["select * from read_csv('/etc/passwd')", "select * from 'x.parquet'", "select * from VOTES"],
)
def test_files_and_python_variables_are_inaccessible(session: DuckDBSession, sql: str) -> None:
    with pytest.raises(SqlProjectError, match=r"disabled by configuration|does not exist"):
        session.query_rows(build_query(sql))


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (
            'select id, 1 as value from "a"',
            "returns value INTEGER; schema.yml declares value DOUBLE",
        ),
        ('select value, id from "a"', "schema.yml declares fewer columns or another order"),
        ('select id from "a"', "returns fewer columns; schema.yml declares value DOUBLE"),
        ('select id, value, 1 as more from "a"', "returns more INTEGER; schema.yml declares fewer"),
    ],
)
def test_undeclared_columns_and_types_are_refused(
    session: DuckDBSession, sql: str, message: str
) -> None:
    model = build_query(sql)
    session.query_rows(model)
    with pytest.raises(SqlProjectError) as error:
        session.check_types(model, COLUMNS)
    assert message in error.value.found
    assert "models/m.sql" in error.value.tried


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (Column(name="nope", data_type="double"), "nope"),
        (Column(name="id", data_type="nonsense"), "nonsense"),
    ],
)
def test_a_source_that_differs_from_its_declaration_is_refused(
    session: DuckDBSession, column: Column, message: str
) -> None:
    with pytest.raises(SqlProjectError, match=rf"read raw\.votes.*{message}"):
        session.register(("raw", "votes"), pl.DataFrame({"id": ["x"]}), [column])


def test_sums_are_equal_in_every_run() -> None:
    frame = pl.DataFrame({"id": ["x"] * 200_000, "value": [1 / (n + 1) for n in range(200_000)]})
    sums = set()
    for _ in range(3):
        with DuckDBSession() as session:
            session.register(("", "a"), frame, COLUMNS)
            sums.add(session.query_rows(build_query('select sum(value) as s from "a"'))["s"][0])
    assert len(sums) == 1


def test_duplicate_keys_are_numbered_regardless_of_order() -> None:
    rows = pl.DataFrame({"id": ["x", "y", "x", None], "value": [2.0, 1.0, 1.0, 0.0]})
    keyed_rows = add_row_key(rows, ["id"])
    assert sorted(keyed_rows["row_key"].to_list()) == ["x", "x#2", "y", "∅"]
    reversed_rows = add_row_key(rows.reverse(), ["id"])
    assert keyed_rows.sort("row_key").equals(reversed_rows.sort("row_key"))
    assert add_row_key(rows.head(2), ["id", "value"])["row_key"].to_list() == ["x/2.0", "y/1.0"]
