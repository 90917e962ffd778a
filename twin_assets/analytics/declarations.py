"""Read the declarations of `schema.yml`: models, sources, their columns and data tests.

Scope: parsing the declared values from YAML; unknown keys are rejected.
Out of scope: SQL files (`project.py`) and the SQL of a test (`built_in_tests.py`).
Properties: https://docs.getdbt.com/reference/configs-and-properties
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from twin_resources.errors import TwinError

Partitions = Literal["authors", "none"]


class SqlProjectError(TwinError):
    """An error in a file of the SQL project; `tried` names the file."""


class _Declaration(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _ModelMeta(_Declaration):
    """The block `meta: dagster:`, which dbt ignores."""

    partitions: Partitions = "authors"


class _Meta(_Declaration):
    dagster: _ModelMeta = _ModelMeta()


class _ModelConfig(_Declaration):
    unique_key: tuple[str, ...] = Field(min_length=1)
    meta: _Meta = _Meta()


class _TestConfig(_Declaration):
    severity: Literal["error", "warn"] = "error"
    where: str = ""


def _parse_test_fields(item: object) -> object:
    """Turn `unique` or `unique: {name: …}` into fields that include `kind`."""
    if isinstance(item, str):
        return {"kind": item}
    tests = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
    if len(tests) != 1:
        raise ValueError("write one test per list item")
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


class DataTest(_Declaration):
    """A test of a model, as SQL that selects the invalid rows.

    Attributes:
        name: name of the asset check, unique within its model.
        kind: the generic test, for example `unique`.
        column: name of the tested column; None for a test of the whole model.
        arguments: arguments of the generic test other than the model and the column.
        severity: `error` blocks everything downstream; `warn` only reports.
        where: SQL condition that selects the tested rows; empty for all rows.
    """

    name: str
    kind: str
    column: str | None
    arguments: Mapping[str, Any]
    severity: Literal["error", "warn"]
    where: str
    description: str


class DeclaredModel(_Declaration):
    """A model declared in `schema.yml`, by default with one partition per author."""

    name: str
    description: str = ""
    config: _ModelConfig
    columns: tuple[_TestedColumn, ...] = Field(min_length=1)
    data_tests: _Tests = ()

    @property
    def partitions(self) -> Partitions:
        """The partitioning: `authors` for one table per author, `none` for one shared table."""
        return self.config.meta.dagster.partitions

    def tests(self) -> tuple[DataTest, ...]:
        """Return the tests of the columns, followed by those of the whole model.

        Raises:
            ValueError: two tests have the same name, or the key has an unknown column.
        """
        pairs: list[tuple[str | None, _Test]] = [
            (column.name, test) for column in self.columns for test in column.data_tests
        ]
        pairs += [(None, test) for test in self.data_tests]
        tests = tuple(_to_data_test(test, column) for column, test in pairs)
        if unknown_columns := set(self.config.unique_key) - {item.name for item in self.columns}:
            raise ValueError(
                f"unique_key has unknown columns: {', '.join(sorted(unknown_columns))}"
            )
        names = [test.name for test in tests]
        if duplicates := {name for name in names if names.count(name) > 1}:
            raise ValueError(
                f"duplicate data tests {', '.join(sorted(duplicates))}: give each its own `name`"
            )
        return tests


class _DeclaredSourceTable(_Declaration):
    name: str
    description: str = ""
    columns: tuple[Column, ...] = Field(min_length=1)


class _Source(_Declaration):
    name: str
    description: str = ""
    tables: tuple[_DeclaredSourceTable, ...]


class _Schema(_Declaration):
    version: int = 2
    models: tuple[DeclaredModel, ...] = ()
    sources: tuple[_Source, ...] = ()


class SourceTable(_Declaration):
    """The Lance table of an asset, which the project reads but does not create.

    Attributes:
        source, name: names as in `source('feedback', 'interactions')`; `name` is the asset's.
        columns: the columns that queries may read.
    """

    source: str
    name: str
    columns: tuple[Column, ...]


def read_yaml(path: Path) -> Mapping[str, Any]:
    """Read one YAML file.

    Raises:
        SqlProjectError: the file is not valid YAML or not a mapping.
    """
    try:
        # The C loader is faster, and every import builds the asset graph from this file.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        document: object = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except yaml.YAMLError as error:
        raise SqlProjectError(
            f"read {path.name}", found=" ".join(str(error).split()), next_step="correct the file"
        ) from error
    if not isinstance(document, dict):
        raise SqlProjectError(
            f"read {path.name}", found="not a mapping", next_step="begin the file with `version: 2`"
        )
    return cast("dict[str, Any]", document)


def read_declarations(
    path: Path,
) -> tuple[Sequence[tuple[DeclaredModel, tuple[DataTest, ...]]], Sequence[SourceTable]]:
    """Read the models of one `schema.yml` with their tests, and its source tables.

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
            found=_describe_error(error),
            next_step="correct it (see https://docs.getdbt.com/reference/configs-and-properties)",
        ) from error
    return models, [
        SourceTable(source=source.name, name=table.name, columns=table.columns)
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


def _describe_error(error: ValidationError | ValueError) -> str:
    """Return the first error with its location in the file."""
    if not isinstance(error, ValidationError):
        return str(error)
    first_error = error.errors(include_url=False)[0]
    location = ".".join(map(str, first_error["loc"]))
    return f"{location}: {first_error['msg']} ({str(first_error['input'])[:60]})"
