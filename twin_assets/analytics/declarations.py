"""Read the declarations of `schema.yml`: models, sources, their columns and data tests.

Scope: the declared values, and reading them from YAML; unknown keys are refused.
Out of scope: SQL files (`project.py`), the SQL of a test (`built_in_tests.py`).
Properties: https://docs.getdbt.com/reference/configs-and-properties
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar, cast

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from twin_resources.errors import TwinError

Partitions = Literal["authors", "none"]
Meta = TypeVar("Meta")


class SqlProjectError(TwinError):
    """An error in a file of the SQL project, which `tried` names."""


class _Declaration(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Dagster(_Declaration, Generic[Meta]):
    dagster: Meta


class _Config(_Declaration, Generic[Meta]):
    """`config: meta: dagster:`, which dbt ignores."""

    meta: _Dagster[Meta]


class _TestConfig(_Declaration):
    severity: Literal["error", "warn"] = "error"
    where: str = ""


def _parse_test_fields(item: object) -> object:
    """Turn `unique` or `unique: {name: …}` into fields that include the kind."""
    if isinstance(item, str):
        return {"kind": item}
    tests = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
    if len(tests) != 1:
        raise ValueError("write one test per dash")
    [(kind, fields)] = tests.items()
    return {"kind": kind} | cast("dict[str, Any]", fields or {})


class _Test(_Declaration):
    kind: str
    name: str = Field("", pattern=r"^[A-Za-z0-9_]*$")
    description: str = ""
    arguments: dict[str, Any] = {}
    config: _TestConfig = _TestConfig()


_Tests = tuple[Annotated[_Test, BeforeValidator(_parse_test_fields)], ...]


class Column(_Declaration):
    """A column with its DuckDB type."""

    name: str
    data_type: str
    description: str = ""


class _TestedColumn(Column):
    data_tests: _Tests = ()


class _ModelMeta(_Declaration):
    partitions: Partitions


class _SourceMeta(_Declaration):
    store: Literal["tables", "state"]


class _TableMeta(_Declaration):
    asset: str = ""
    optional: bool = False


class DataTest(_Declaration):
    """A test of a model: SQL that selects the invalid rows.

    Attributes:
        name: name of the asset check, unique in its model.
        kind: the generic test, for example `unique`.
        column: name of the tested column; None for a test of the whole model.
        arguments: arguments of the generic test besides model and column.
        severity: `error` stops everything downstream; `warn` only reports.
        where: SQL condition for the tested rows; empty for all rows.
    """

    name: str
    kind: str
    column: str | None
    arguments: Mapping[str, Any]
    severity: Literal["error", "warn"]
    where: str
    description: str


class DeclaredModel(_Declaration):
    """Declaration of a model in `schema.yml`; by default, it has one partition per author."""

    name: str
    description: str = ""
    config: _Config[_ModelMeta] | None = None
    columns: tuple[_TestedColumn, ...] = Field(min_length=1)
    data_tests: _Tests = ()

    @property
    def partitions(self) -> Partitions:
        """Partitioning: `authors` for a table per author, `none` for one over all authors."""
        return self.config.meta.dagster.partitions if self.config else "authors"

    def tests(self) -> tuple[DataTest, ...]:
        """Return the tests of the columns, then those of the whole model.

        Raises:
            ValueError: two tests have the same name.
        """
        pairs: list[tuple[str | None, _Test]] = [
            (column.name, test) for column in self.columns for test in column.data_tests
        ]
        pairs += [(None, test) for test in self.data_tests]
        tests = tuple(_to_data_test(test, column) for column, test in pairs)
        names = [test.name for test in tests]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(
                f"duplicate data tests {', '.join(sorted(twice))}: give each its own `name`"
            )
        return tests


class _DeclaredSourceTable(_Declaration):
    name: str
    description: str = ""
    config: _Config[_TableMeta] | None = None
    columns: tuple[Column, ...] = Field(min_length=1)


class _Source(_Declaration):
    name: str
    description: str = ""
    config: _Config[_SourceMeta]
    tables: tuple[_DeclaredSourceTable, ...]


class _Schema(_Declaration):
    version: int = 2
    models: tuple[DeclaredModel, ...] = ()
    sources: tuple[_Source, ...] = ()


class SourceTable(_Declaration):
    """A table that the project reads but does not make.

    Attributes:
        source, name: names as in `source('registry', 'moves')`.
        store: `tables` for the Lance table of the asset, `state` for a table of the state store.
        asset: name of the Dagster asset that makes or changes it.
        optional: whether it may have no rows because its asset was never materialized.
        columns: the columns that are read.
    """

    source: str
    name: str
    store: Literal["tables", "state"]
    asset: str
    optional: bool
    columns: tuple[Column, ...]


def read_yaml(path: Path) -> Mapping[str, Any]:
    """Read one YAML file.

    Raises:
        SqlProjectError: the file is not valid YAML, or not a mapping.
    """
    try:
        # the C loader if available, because the asset graph is built from this file at import
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        document: object = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except yaml.YAMLError as error:
        raise SqlProjectError(
            f"read {path.name}", found=" ".join(str(error).split()), next_step="correct the file"
        ) from error
    if not isinstance(document, dict):
        raise SqlProjectError(
            f"read {path.name}", found="not a mapping", next_step="write `version: 2` …"
        )
    return cast("dict[str, Any]", document)


def read_declarations(
    path: Path,
) -> tuple[Sequence[tuple[DeclaredModel, tuple[DataTest, ...]]], Sequence[SourceTable]]:
    """Read the models of one `schema.yml` with their tests, and the tables of its sources.

    Raises:
        SqlProjectError: a key is unknown or missing, or a value is wrong.
    """
    document = read_yaml(path)
    try:
        schema = _Schema.model_validate(document)
        models = [(model, model.tests()) for model in schema.models]
    except (ValidationError, ValueError) as error:
        raise SqlProjectError(
            f"read {path.name}",
            found=_describe_error(document, error),
            next_step="correct it (see https://docs.getdbt.com/reference/configs-and-properties)",
        ) from error
    return models, [
        SourceTable(
            source=source.name,
            name=table.name,
            store=source.config.meta.dagster.store,
            asset=(table.config and table.config.meta.dagster.asset) or table.name,
            optional=bool(table.config and table.config.meta.dagster.optional),
            columns=table.columns,
        )
        for source in schema.sources
        for table in source.tables
    ]


def _to_data_test(test: _Test, column: str | None) -> DataTest:
    return DataTest(
        name=test.name or (f"{test.kind}_{column}" if column else test.kind),
        kind=test.kind,
        column=column,
        arguments=test.arguments,
        severity=test.config.severity,
        where=test.config.where,
        description=" ".join(test.description.split()),
    )


def _describe_error(document: Mapping[str, Any], error: ValidationError | ValueError) -> str:
    """Return the location and the message of the error; list items appear by their names."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    node: Any = document
    where: list[str] = []
    for part in first["loc"]:
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            node = None  # it is missing
        is_named = isinstance(part, int) and "name" in (node or ())
        where.append(str(node["name"] if is_named else part))
    return f"{'.'.join(where)}: {first['msg']} ({str(first['input'])[:60]})"
