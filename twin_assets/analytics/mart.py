"""Build one mart: load its inputs into DuckDB, run its query and tests, store its rows.

Scope: the build steps of one model, in order.
Out of scope: Dagster (`sql_models.py`), SQL text, and how rows are stored (`Tables.sync`).

The query runs over all of its inputs, but only changed rows are written. As in dbt, tests run after
the rows are written, so a failed test blocks everything downstream but does not hide rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from twin_assets.analytics.declarations import Column, DataTest, SourceTable
from twin_assets.analytics.duckdb_session import DuckDBSession, Frame, Relation
from twin_assets.analytics.project import ALL_AUTHORS, Model, Project
from twin_assets.analytics.rendering import RenderedSql, Renderer
from twin_resources.storage.tables.hashing import hash_rows
from twin_resources.storage.tables.tables import SyncResult, Tables

ROW_KEY = "row_key"
# The written rows depend only on the query's rows. The SQL's version is excluded, so that editing a
# comment does not change the data version.
ROWS_VERSION = "rows as given, 1"


@dataclass(frozen=True)
class TestOutcome:
    """The outcome of a test: the number of invalid rows that its SQL selected."""

    test: DataTest
    invalid_row_count: int
    sql: str


@dataclass(frozen=True)
class Mart:
    """The outcome of building a mart: its stored rows, its tests and its SQL."""

    sync_result: SyncResult
    outcomes: tuple[TestOutcome, ...]
    sql: str


def build_mart(project: Project, model: Model, *, tables: Tables, authors: Sequence[str]) -> Mart:
    """Run a model's query, update its table, and run its tests.

    Args:
        authors: authors whose rows are read. A partitioned model is built for exactly one author.
            A model without partitions skips authors whose upstream was never materialized.

    Raises:
        SqlProjectError: the SQL or its declaration in schema.yml is wrong; the message names the
            file.
        TableNotFoundError: the upstream of a partition was never materialized.
    """
    renderer = Renderer(project)
    query = renderer.render_model(model)
    upstream = _Upstream(project, tables, tuple(authors), model.partitions == "authors")
    [partition] = authors if upstream.is_partitioned else [ALL_AUTHORS]
    with DuckDBSession() as session:
        for relation in sorted({*(("", name) for name in model.refs), *model.sources}):
            upstream.register(session, relation)
        rows = session.query_rows(query)
        session.check_types(query, model.columns)
        keyed_rows = add_row_key(rows, model.unique_key)
        sync_result = tables.sync(
            keyed_rows,
            model.name,
            author=partition,
            key=ROW_KEY,
            function=lambda frame: frame,
            version=ROWS_VERSION,
            schema=dict(keyed_rows.schema),
            row_key=ROW_KEY,
        )
        session.register(("", model.name), rows, model.columns)
        outcomes = tuple(_run_test(session, renderer, model, test) for test in model.tests)
    return Mart(sync_result, outcomes, query.sql)


def add_row_key(rows: pl.DataFrame, unique_key: Sequence[str]) -> pl.DataFrame:
    """Add a column `row_key` with the values of the key, numbered if several rows share them.

    Duplicates are numbered rather than rejected, because a test checks uniqueness and must see
    them.
    """
    key_parts = [pl.col(name).cast(pl.String).fill_null("∅") for name in unique_key]
    keyed_rows = rows.with_columns(pl.concat_str(key_parts, separator="/").alias(ROW_KEY))
    if not keyed_rows[ROW_KEY].is_duplicated().any():
        return keyed_rows.select(ROW_KEY, *rows.columns)
    hashed_rows = keyed_rows.with_columns(hash_rows(rows).alias("_hash")).sort(ROW_KEY, "_hash")
    number = pl.int_range(1, pl.len() + 1).over(ROW_KEY)
    numbered_key = pl.format("{}#{}", ROW_KEY, number)
    return hashed_rows.with_columns(
        pl.when(number > 1).then(numbered_key).otherwise(ROW_KEY).alias(ROW_KEY)
    ).select(ROW_KEY, *rows.columns)


def render_test(renderer: Renderer, model: Model, test: DataTest) -> RenderedSql:
    """Render the SQL of one test."""
    relation = f'"{model.name}"'
    if test.where:
        relation = f"(select * from {relation} where {test.where}) dbt_subquery"
    values = dict(test.arguments)
    if test.column is not None:
        values["column_name"] = test.column
    return renderer.render_test(test.kind, relation, name=test.name, **values)


def _run_test(
    session: DuckDBSession, renderer: Renderer, model: Model, test: DataTest
) -> TestOutcome:
    query = render_test(renderer, model, test)
    return TestOutcome(test, session.query_rows(query).height, query.sql)


@dataclass(frozen=True)
class _Upstream:
    """Reads the tables that provide a model's inputs."""

    project: Project
    tables: Tables
    authors: tuple[str, ...]
    is_partitioned: bool

    def register(self, session: DuckDBSession, relation: Relation) -> None:
        source = self.project.sources.get(relation)
        columns = source.columns if source else self.project.get_model(relation[1]).columns
        session.register(relation, self._scan_input(relation, source, columns), columns)

    def _scan_input(
        self, relation: Relation, source: SourceTable | None, columns: Sequence[Column]
    ) -> Frame:
        asset = relation[1]
        model = None if source else self.project.get_model(asset)
        partition_keys: Iterable[str] = self.authors
        if model and model.partitions == "none":
            partition_keys = [ALL_AUTHORS]
        elif not self.is_partitioned:
            partition_keys = [
                author for author in partition_keys if self.tables.exists(asset, author)
            ]
        # `scan` is lazy: only the declared columns that the query uses are read
        column_names = [column.name for column in columns]
        frames = [self.tables.scan(asset, partition_key) for partition_key in partition_keys]
        complete_frames = [
            frame for frame in frames if set(column_names) <= set(frame.collect_schema().names())
        ]
        if len(complete_frames) != len(frames):
            # `register` raises an error for this frame.
            return next(frame for frame in frames if frame not in complete_frames)
        if not frames:
            return pl.DataFrame(schema=dict.fromkeys(column_names, pl.Null))
        return pl.concat([frame.select(column_names) for frame in frames])
