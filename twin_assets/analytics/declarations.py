"""What `schema.yml` declares: models, sources, their columns and data tests.

Scope: the declared values, and reading them from YAML; a key that is not known is refused.
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
    """A file of the SQL project cannot be used as it stands; `tried` names it."""


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Dagster(_Declared, Generic[Meta]):
    dagster: Meta


class _Config(_Declared, Generic[Meta]):
    """`config: meta: dagster:`, which dbt hands through unread."""

    meta: _Dagster[Meta]


class _TestConfig(_Declared):
    severity: Literal["error", "warn"] = "error"
    where: str = ""


def _test_fields(item: object) -> object:
    """`unique`, or `unique: {name: …}`, with the kind as a field."""
    if isinstance(item, str):
        return {"kind": item}
    tests = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
    if len(tests) != 1:
        raise ValueError("write one test a dash")
    [(kind, fields)] = tests.items()
    return {"kind": kind} | cast("dict[str, Any]", fields or {})


class _Test(_Declared):
    kind: str
    name: str = Field("", pattern=r"^[A-Za-z0-9_]*$")
    description: str = ""
    arguments: dict[str, Any] = {}
    config: _TestConfig = _TestConfig()


_Tests = tuple[Annotated[_Test, BeforeValidator(_test_fields)], ...]


class Column(_Declared):
    """A column with its DuckDB type."""

    name: str
    data_type: str
    description: str = ""


class _TestedColumn(Column):
    data_tests: _Tests = ()


class _ModelMeta(_Declared):
    partitions: Partitions


class _SourceMeta(_Declared):
    store: Literal["tables", "state"]


class _TableMeta(_Declared):
    asset: str = ""
    optional: bool = False


class DataTest(_Declared):
    """One test of a model: SQL that selects the rows which are wrong.

    Attributes:
        name: unique in its model; the asset check's name.
        kind: the generic test, `unique`.
        column: None: a test of the whole model.
        arguments: what the generic test is given beside model and column.
        severity: `error` stops what is downstream; `warn` only tells.
        where: SQL; only these rows are tested. Empty: all.
    """

    name: str
    kind: str
    column: str | None
    arguments: Mapping[str, Any]
    severity: Literal["error", "warn"]
    where: str
    description: str


class DeclaredModel(_Declared):
    """What schema.yml says of a model; one that says nothing of partitions has one an author."""

    name: str
    description: str = ""
    config: _Config[_ModelMeta] | None = None
    columns: tuple[_TestedColumn, ...] = Field(min_length=1)
    data_tests: _Tests = ()

    @property
    def partitions(self) -> Partitions:
        """`authors`: one table an author; `none`: one over all authors."""
        return self.config.meta.dagster.partitions if self.config else "authors"

    def tests(self) -> tuple[DataTest, ...]:
        """Of its columns, then of the whole.

        Raises:
            ValueError: two have one name.
        """
        pairs: list[tuple[str | None, _Test]] = [
            (column.name, test) for column in self.columns for test in column.data_tests
        ]
        pairs += [(None, test) for test in self.data_tests]
        tests = tuple(_named(test, column) for column, test in pairs)
        names = [test.name for test in tests]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two data tests {', '.join(sorted(twice))}: give one a `name`")
        return tests


class _SourceColumns(_Declared):
    name: str
    description: str = ""
    config: _Config[_TableMeta] | None = None
    columns: tuple[Column, ...] = Field(min_length=1)


class _Source(_Declared):
    name: str
    description: str = ""
    config: _Config[_SourceMeta]
    tables: tuple[_SourceColumns, ...]


class _Schema(_Declared):
    version: int = 2
    models: tuple[DeclaredModel, ...] = ()
    sources: tuple[_Source, ...] = ()


class SourceTable(_Declared):
    """A table that is made elsewhere.

    Attributes:
        source, name: as in `source('registry', 'moves')`.
        store: `tables`: the Lance table of the asset; `state`: a table of the state store.
        asset: the Dagster asset that makes or changes it.
        optional: where nobody has materialized the asset yet, it has no rows.
        columns: those that are read, and no others.
    """

    source: str
    name: str
    store: Literal["tables", "state"]
    asset: str
    optional: bool
    columns: tuple[Column, ...]


def read_yaml(path: Path) -> Mapping[str, Any]:
    """One YAML file.

    Raises:
        SqlProjectError: it is no YAML, or no mapping.
    """
    try:
        # in C where there is one: the asset graph is built from it at import
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        document: object = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except yaml.YAMLError as error:
        raise SqlProjectError(
            f"read {path.name}", found=" ".join(str(error).split()), next_step="mend the file"
        ) from error
    if not isinstance(document, dict):
        raise SqlProjectError(
            f"read {path.name}", found="no mapping", next_step="write `version: 2` …"
        )
    return cast("dict[str, Any]", document)


def read_declarations(
    path: Path,
) -> tuple[Sequence[tuple[DeclaredModel, tuple[DataTest, ...]]], Sequence[SourceTable]]:
    """The models of one `schema.yml` with their tests, and the tables of its sources.

    Raises:
        SqlProjectError: a key that nothing here knows, a missing one, a wrong value.
    """
    document = read_yaml(path)
    try:
        schema = _Schema.model_validate(document)
        models = [(model, model.tests()) for model in schema.models]
    except (ValidationError, ValueError) as error:
        raise SqlProjectError(
            f"read {path.name}",
            found=_said(document, error),
            next_step="mend it; https://docs.getdbt.com/reference/configs-and-properties",
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


def _named(test: _Test, column: str | None) -> DataTest:
    return DataTest(
        name=test.name or (f"{test.kind}_{column}" if column else test.kind),
        kind=test.kind,
        column=column,
        arguments=test.arguments,
        severity=test.config.severity,
        where=test.config.where,
        description=" ".join(test.description.split()),
    )


def _said(document: Mapping[str, Any], error: ValidationError | ValueError) -> str:
    """What is wrong where; list items by their name."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    within: Any = document
    where: list[str] = []
    for part in first["loc"]:
        try:
            within = within[part]
        except (KeyError, IndexError, TypeError):
            within = None  # it is missing
        is_named = isinstance(part, int) and "name" in (within or ())
        where.append(str(within["name"] if is_named else part))
    return f"{'.'.join(where)}: {first['msg']} ({str(first['input'])[:60]})"
