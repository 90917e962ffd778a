"""The SQL project as a value: models with what they read, sources, variables, files of macros.

Belongs here: finding the files, joining each model with its declaration, and what must be so
between them (every ref known, no circle).
Does not belong here: rendering (`rendering.py`), running (`mart.py`), Dagster (`sql_models.py`).
Conventions: https://docs.getdbt.com/reference/dbt_project.yml. Cheap to read: the asset graph is
built from it at import.
"""
# pyright: strict

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from twin_assets.analytics.declarations import (
    Column,
    DataTest,
    DeclaredModel,
    Partitions,
    ProjectDeclarations,
    SourceTable,
    read_declarations,
)
from twin_assets.analytics.source_locations import SourceLocation, SqlProjectError, YamlFile
from twin_assets.analytics.static_calls import MacroCall, static_calls

# Beside `twin_assets` in a checkout and in site-packages alike: one distribution installs both.
FOLDER = Path(__file__).resolve().parents[2] / "dbt_like_sql"

# Where a mart over all authors keeps its table, in an author's place; no slug has an underscore.
ALL_AUTHORS = "_all"

_ARGUMENTS = {"ref": 1, "source": 2, "config": 0}


@dataclass(frozen=True)
class Model:
    """One file of `models`.

    Attributes:
        file: relative to the project, `models/requests.sql`.
        text: as it stands in the file.
        refs, sources: what it reads.
        unique_key: columns that name a row.
        config: the keyword arguments of its `config()`.
        code: hash of its own text, of all macros and of the variables.
    """

    name: str
    file: str
    text: str
    description: str
    partitions: Partitions
    unique_key: tuple[str, ...]
    config: Mapping[str, Any]
    refs: tuple[str, ...]
    sources: tuple[tuple[str, str], ...]
    columns: tuple[Column, ...]
    tests: tuple[DataTest, ...]
    code: str


@dataclass(frozen=True)
class Project:
    """A folder in dbt's layout.

    Attributes:
        models: each after those that it reads.
        variables: `vars` of dbt_project.yml.
        macro_files: relative paths of files with macros and generic tests.
    """

    folder: Path
    models: tuple[Model, ...]
    sources: Mapping[tuple[str, str], SourceTable]
    variables: Mapping[str, Any]
    macro_files: tuple[str, ...]

    def model(self, name: str) -> Model:
        """One model.

        Raises:
            KeyError: there is none of that name.
        """
        return next(item for item in self.models if item.name == name)

    def models_by_name(self) -> Mapping[str, Model]:
        """Name to model."""
        return {item.name: item for item in self.models}


def read_project(folder: Path = FOLDER) -> Project:
    """Read a project; nothing is rendered and no database is opened.

    Raises:
        SqlProjectError: something in it is not as it must be; the message names file and line.
    """
    settings = YamlFile.read(folder, folder / "dbt_project.yml")
    variables = settings.mapping(settings.document.get("vars"), settings.document, of="vars")
    models_folder = folder / "models"
    declared = _declared(folder, sorted(models_folder.rglob("*.yml")))
    macro_files = _files(folder, ("macros", "tests/generic"))
    code = hashlib.sha256(repr(sorted(variables.items())).encode())
    for name in macro_files:
        code.update((folder / name).read_bytes())
    described = {item.name: item for item in declared.models}
    sources = {(item.source, item.name): item for item in declared.sources}
    models: dict[str, Model] = {}
    for path in sorted(models_folder.rglob("*.sql")):
        file = path.relative_to(folder).as_posix()
        if path.stem in models:
            raise SqlProjectError(
                "read a model",
                SourceLocation(file, 1),
                found=f"a second model of this name beside {models[path.stem].file}",
                next_step="rename one of them",
            )
        model = _model(file, path.read_text(encoding="utf-8"), described, base=code.copy())
        models[model.name] = model
    for item in declared.models:
        if item.name not in models:
            raise SqlProjectError(
                f"find the model {item.name}",
                item.place,
                found=f"no {item.name}.sql under models",
                next_step="write the file, or take the model out of schema.yml",
            )
    _check_known(models, sources)
    return Project(folder, _ordered(models), sources, dict(variables), macro_files)


def _declared(folder: Path, paths: Iterable[Path]) -> ProjectDeclarations:
    read = [read_declarations(folder, path) for path in paths]
    return ProjectDeclarations(
        tuple(item for part in read for item in part.models),
        tuple(item for part in read for item in part.sources),
    )


def _files(folder: Path, below: Iterable[str]) -> tuple[str, ...]:
    files = [path for name in below for path in sorted((folder / name).rglob("*.sql"))]
    return tuple(path.relative_to(folder).as_posix() for path in files)


def _model(file: str, text: str, described: Mapping[str, DeclaredModel], *, base: Any) -> Model:
    name = Path(file).stem
    if name not in described:
        raise SqlProjectError(
            f"read the model {name}",
            SourceLocation(file, 1),
            found="no word of it in any schema.yml",
            next_step="declare it there, with its columns",
        )
    calls = static_calls(text, file)
    for call in calls:
        _check_arguments(call)
    declared = described[name]
    config = _config(file, calls)
    base.update(text.encode())
    return Model(
        name=name,
        file=file,
        text=text,
        description=declared.description,
        partitions=declared.partitions,
        unique_key=_unique_key(config, declared, SourceLocation(file, 1)),
        config=config,
        refs=_distinct(call.arguments[0] for call in calls if call.name == "ref"),
        sources=_distinct(call.arguments for call in calls if call.name == "source"),
        columns=declared.columns,
        tests=declared.tests,
        code=base.hexdigest()[:16],
    )


def _distinct(items: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(items))


def _check_arguments(call: MacroCall) -> None:
    expected = _ARGUMENTS[call.name]
    words = all(isinstance(argument, str) for argument in call.arguments)
    if len(call.arguments) != expected or not words or (call.named and call.name != "config"):
        raise SqlProjectError(
            f"read {call.name}()",
            call.place,
            found=f"the arguments {call.arguments} {call.named or ''}".rstrip(),
            next_step="write ref('model'), source('source', 'table') or config(name=value)",
        )


def _config(file: str, calls: Iterable[MacroCall]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for call in calls:
        if call.name == "config":
            config |= call.named
            unknown = sorted(set(call.named) - {"materialized", "unique_key"})
            if unknown or config.get("materialized", "table") != "table":
                raise SqlProjectError(
                    "read config()",
                    call.place,
                    found=f"{unknown[0]}={call.named[unknown[0]]!r}"
                    if unknown
                    else f"materialized={config['materialized']!r}",
                    next_step="use materialized='table' and unique_key; the rest is in schema.yml",
                )
    if "unique_key" not in config:
        raise SqlProjectError(
            "read config()",
            SourceLocation(file, 1),
            found="no unique_key",
            next_step="write {{ config(materialized='table', unique_key=['…']) }}",
        )
    return config


def _unique_key(
    config: Mapping[str, Any], model: DeclaredModel, place: SourceLocation
) -> tuple[str, ...]:
    given = config["unique_key"]
    key = (given,) if isinstance(given, str) else tuple(given)
    names = {column.name for column in model.columns}
    if not key or not names.issuperset(key):
        raise SqlProjectError(
            "read the unique_key",
            place,
            found=f"{given!r}, but the columns {sorted(names)}",
            next_step="name columns of the model",
        )
    return key


def _check_known(
    models: Mapping[str, Model], sources: Mapping[tuple[str, str], SourceTable]
) -> None:
    for model in models.values():
        for call in static_calls(model.text, model.file):
            is_known = (
                call.name == "config"
                or (call.name == "ref" and call.arguments[0] in models)
                or (call.name == "source" and call.arguments in sources)
            )
            if not is_known:
                known = sorted(models) if call.name == "ref" else sorted(map(".".join, sources))
                raise SqlProjectError(
                    f"read {call.name}{call.arguments!r}".replace(",)", ")"),
                    call.place,
                    found=f"it is not among {', '.join(known)}",
                    next_step="write the file, or declare the source in schema.yml",
                )
            upstream = models[call.arguments[0]] if call.name == "ref" else None
            if upstream and model.partitions == "authors" and upstream.partitions == "none":
                raise SqlProjectError(
                    f"read ref({upstream.name!r})",
                    call.place,
                    found="one table over all authors under a model that is made for each author",
                    next_step="give both the same partitions",
                )


def _ordered(models: Mapping[str, Model]) -> tuple[Model, ...]:
    try:
        order = TopologicalSorter({name: item.refs for name, item in models.items()}).static_order()
        return tuple(models[name] for name in order)
    except CycleError as error:
        circle: list[str] = error.args[1]
        raise SqlProjectError(
            "order the models",
            SourceLocation(models[circle[0]].file, 1),
            found=f"a circle: {' → '.join(circle)}",
            next_step="take one ref out",
        ) from error
