"""What `schema.yml` declares: models, sources, their columns and data tests.

Belongs here: the declared values, and reading them from YAML with every key accounted for.
Does not belong here: SQL files (`project.py`), the SQL of a test (`built_in_tests.py`).
Properties: https://docs.getdbt.com/reference/configs-and-properties
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from twin_assets.analytics.source_locations import LocatedMapping, SourceLocation, YamlFile

Severity = Literal["error", "warn"]
Partitions = Literal["authors", "none"]
Store = Literal["tables", "state"]


@dataclass(frozen=True)
class Column:
    """A column with its DuckDB type."""

    name: str
    data_type: str
    description: str
    place: SourceLocation


@dataclass(frozen=True)
class DataTest:
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
    severity: Severity
    where: str
    description: str
    place: SourceLocation


@dataclass(frozen=True)
class SourceTable:
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
    store: Store
    asset: str
    optional: bool
    columns: tuple[Column, ...]
    description: str
    place: SourceLocation


@dataclass(frozen=True)
class DeclaredModel:
    """What schema.yml says of a model.

    Attributes:
        partitions: `authors`: one table an author; `none`: one over all authors.
    """

    name: str
    description: str
    partitions: Partitions
    columns: tuple[Column, ...]
    tests: tuple[DataTest, ...]
    place: SourceLocation


@dataclass(frozen=True)
class ProjectDeclarations:
    """Everything that the YAML files of a project declare."""

    models: tuple[DeclaredModel, ...]
    sources: tuple[SourceTable, ...]


def read_declarations(folder: Path, path: Path) -> ProjectDeclarations:
    """Read one `schema.yml`.

    Raises:
        SqlProjectError: a key that nothing here knows, a missing one, a wrong value.
    """
    file = YamlFile.read(folder, path)
    top = file.document
    file.allow(top, ("version", "models", "sources"), of="schema.yml")
    models = [_model(file, item) for item in _items(file, top, "models")]
    sources = [
        table for item in _items(file, top, "sources") for table in _source_tables(file, item)
    ]
    return ProjectDeclarations(tuple(models), tuple(sources))


def _items(file: YamlFile, within: LocatedMapping, name: str) -> Iterator[LocatedMapping]:
    for item in file.listed(within.get(name), within, of=name):
        yield file.mapping(item, within, of=name)


def _model(file: YamlFile, fields: LocatedMapping) -> DeclaredModel:
    name = file.word(fields, "name", of="a model")
    of = f"the model {name}"
    file.allow(fields, ("name", "description", "config", "columns", "data_tests"), of=of)
    meta = _meta(file, fields, ("partitions",), of=of)
    partitions = meta.get("partitions", "authors")
    if partitions not in ("authors", "none"):
        raise file.wrong(
            partitions,
            f"read the partitions of {of}",
            found=repr(str(partitions)),
            next_step="write authors or none",
        )
    columns, tests = _columns(file, fields, of=of)
    tests += _tests(file, fields, column=None, of=of)
    seen: dict[str, DataTest] = {}
    for test in tests:
        if (first := seen.setdefault(test.name, test)) is not test:
            raise file.wrong(
                None,
                f"read the data tests of {of}",
                found=f"{test.name} at {test.place} and at {first.place}",
                next_step="give one of them a `name`",
            )
    return DeclaredModel(
        name, _text(fields), partitions, tuple(columns), tuple(tests), file.place(name)
    )


def _source_tables(file: YamlFile, fields: LocatedMapping) -> Iterator[SourceTable]:
    source = file.word(fields, "name", of="a source")
    file.allow(fields, ("name", "description", "config", "tables"), of=f"the source {source}")
    store = _meta(file, fields, ("store",), of=f"the source {source}").get("store")
    if store not in ("tables", "state"):
        raise file.wrong(
            store or fields,
            f"read where the source {source} is kept",
            found=repr(store and str(store)),
            next_step="write config: meta: dagster: store: tables (or state)",
        )
    for table in _items(file, fields, "tables"):
        name = file.word(table, "name", of=f"a table of {source}")
        of = f"the source table {source}.{name}"
        file.allow(table, ("name", "description", "config", "columns"), of=of)
        meta = _meta(file, table, ("asset", "optional"), of=of)
        columns, tests = _columns(file, table, of=of)
        if tests:
            raise file.wrong(
                None,
                f"read {of}",
                found=f"a data test at {tests[0].place}",
                next_step="test it in a model: a source's asset has checks of its own",
            )
        yield SourceTable(
            source,
            name,
            store,
            str(meta.get("asset", name)),
            meta.get("optional") is True,
            tuple(columns),
            _text(table),
            file.place(name),
        )


def _meta(
    file: YamlFile, fields: LocatedMapping, names: tuple[str, ...], *, of: str
) -> LocatedMapping:
    """`config: meta: dagster:`, which dbt hands through unread."""
    config = file.mapping(fields.get("config"), fields, of=f"config of {of}")
    file.allow(config, ("meta",), of=f"config of {of}")
    meta = file.mapping(config.get("meta"), config, of=f"meta of {of}")
    file.allow(meta, ("dagster",), of=f"meta of {of}")
    ours = file.mapping(meta.get("dagster"), meta, of=f"meta.dagster of {of}")
    file.allow(ours, names, of=f"meta.dagster of {of}")
    return ours


def _columns(
    file: YamlFile, fields: LocatedMapping, *, of: str
) -> tuple[list[Column], list[DataTest]]:
    columns: list[Column] = []
    tests: list[DataTest] = []
    for item in _items(file, fields, "columns"):
        name = file.word(item, "name", of=f"a column of {of}")
        file.allow(item, ("name", "data_type", "description", "data_tests"), of=f"column {name}")
        kind = file.word(item, "data_type", of=f"column {name}")
        columns.append(Column(name, kind, _text(item), file.place(name)))
        tests += _tests(file, item, column=name, of=f"column {name}")
    if not columns:
        raise file.wrong(
            fields,
            f"read {of}",
            found="no columns",
            next_step="declare every column with its data_type",
        )
    return columns, tests


def _tests(
    file: YamlFile, fields: LocatedMapping, *, column: str | None, of: str
) -> list[DataTest]:
    return [
        _test(file, item, column=column, within=fields)
        for item in file.listed(fields.get("data_tests"), fields, of=f"data_tests of {of}")
    ]


def _test(file: YamlFile, item: Any, *, column: str | None, within: LocatedMapping) -> DataTest:
    if isinstance(item, str):
        place = file.place(item, within)
        return DataTest(_name_of(item, column), item, column, {}, "error", "", "", place)
    outer = file.mapping(item, within, of="a data test")
    if len(outer) != 1:
        raise file.wrong(
            outer, "read a data test", found=f"{len(outer)} keys", next_step="write one test a dash"
        )
    [(kind, inner)] = outer.items()
    fields = file.mapping(inner, outer, of=f"the data test {kind}")
    file.allow(fields, ("name", "description", "arguments", "config"), of=f"the data test {kind}")
    arguments = file.mapping(fields.get("arguments"), fields, of=f"arguments of {kind}")
    config = file.mapping(fields.get("config"), fields, of=f"config of {kind}")
    file.allow(config, ("severity", "where"), of=f"config of {kind}")
    severity = str(config.get("severity", "error")).lower()
    if severity not in ("error", "warn"):
        raise file.wrong(
            config["severity"],
            f"read the severity of {kind}",
            found=repr(severity),
            next_step="write error or warn",
        )
    name = str(fields.get("name") or _name_of(kind, column))
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise file.wrong(
            fields.get("name", fields),
            f"read the name of {kind}",
            found=repr(name),
            next_step="use letters, digits and _",
        )
    return DataTest(
        name,
        kind,
        column,
        dict(arguments),
        severity,
        str(config.get("where", "")),
        _text(fields),
        file.place(kind),
    )


def _name_of(kind: str, column: str | None) -> str:
    return f"{kind}_{column}" if column else kind


def _text(fields: LocatedMapping) -> str:
    return " ".join(str(fields.get("description", "")).split())
