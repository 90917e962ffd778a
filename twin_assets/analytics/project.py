"""Read the SQL project: models with their inputs, sources, variables and macro files.

Scope: finding the files, matching each model with its declaration, and checking that no reference
is unknown or cyclic.
Out of scope: rendering (`rendering.py`), running (`mart.py`), and Dagster (`sql_models.py`).
Conventions: https://docs.getdbt.com/reference/dbt_project.yml

Every import builds the asset graph from the project, and rendering with Jinja would take a tenth of
a second. Regular expressions therefore find a model's inputs. If they miss a table, the query
fails, because that table is not registered.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from twin_assets.analytics.declarations import (
    Column,
    DataTest,
    DeclaredModel,
    Partitions,
    SourceTable,
    SqlProjectError,
    read_declarations,
    read_yaml,
)

# The folder is next to `twin_assets` in a checkout and in site-packages, because one distribution
# installs both.
PROJECT_FOLDER = Path(__file__).resolve().parents[2] / "dbt_like_sql"

# Used instead of a slug in a mart over all authors. Slugs have no underscores.
ALL_AUTHORS = "_all"

_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_REF = re.compile(r"""\{\{-?\s*ref\(\s*['"](\w+)['"]\s*\)\s*-?\}\}""")
_SOURCE = re.compile(r"""\{\{-?\s*source\(\s*['"](\w+)['"]\s*,\s*['"](\w+)['"]\s*\)\s*-?\}\}""")


@dataclass(frozen=True)
class Model:
    """A model defined by one file in `models`.

    Attributes:
        file: path within the project, for example `models/requests.sql`.
        refs, sources: the models and sources that it reads.
        unique_key: columns that identify a row.
        code_hash: hash of the model's text, all macros and the variables.
    """

    name: str
    file: str
    description: str
    partitions: Partitions
    unique_key: tuple[str, ...]
    refs: tuple[str, ...]
    sources: tuple[tuple[str, str], ...]
    columns: Sequence[Column]
    tests: tuple[DataTest, ...]
    code_hash: str


@dataclass(frozen=True)
class Project:
    """A folder in dbt's layout.

    Attributes:
        models: all models, in dependency order.
        variables: `vars` of dbt_project.yml.
        macro_files: relative paths of files with macros and generic tests.
    """

    folder: Path
    models: tuple[Model, ...]
    sources: Mapping[tuple[str, str], SourceTable]
    variables: Mapping[str, Any]
    macro_files: tuple[str, ...]

    def get_model(self, name: str) -> Model:
        """Return the model with this name.

        Raises:
            KeyError: no model has that name.
        """
        return {item.name: item for item in self.models}[name]


def read_project(folder: Path = PROJECT_FOLDER) -> Project:
    """Read a project without rendering it or opening a database.

    Raises:
        SqlProjectError: a file is invalid; the message names it.
    """
    variables = dict(read_yaml(folder / "dbt_project.yml").get("vars") or {})
    declarations: dict[str, tuple[DeclaredModel, tuple[DataTest, ...]]] = {}
    sources: dict[tuple[str, str], SourceTable] = {}
    for path in sorted((folder / "models").rglob("*.yml")):
        models, tables = read_declarations(path)
        declarations |= {model.name: (model, tests) for model, tests in models}
        sources |= {(table.source, table.name): table for table in tables}
    macro_files = tuple(
        path.relative_to(folder).as_posix()
        for name in ("macros", "tests/generic")
        for path in sorted((folder / name).rglob("*.sql"))
    )
    hasher = hashlib.sha256(repr(sorted(variables.items())).encode())
    for name in macro_files:
        hasher.update((folder / name).read_bytes())
    files = {path.stem: path for path in sorted((folder / "models").rglob("*.sql"))}
    if mismatched_names := sorted(files.keys() ^ declarations.keys()):
        raise SqlProjectError(
            f"read the model {mismatched_names[0]}",
            found="a declaration without a file, or a file without a declaration",
            next_step=f"write models/{mismatched_names[0]}.sql, and declare it in a schema.yml",
        )
    models_by_name = {
        name: _build_model(path, folder, *declarations[name], hasher=hasher.copy())
        for name, path in files.items()
    }
    _check_references(models_by_name, sources)
    return Project(folder, _sort_models(models_by_name), sources, variables, macro_files)


def _build_model(
    path: Path,
    folder: Path,
    declaration: DeclaredModel,
    tests: tuple[DataTest, ...],
    *,
    hasher: Any,
) -> Model:
    text = path.read_text(encoding="utf-8")
    hasher.update(text.encode())
    sql = _COMMENT.sub("", text)
    file = path.relative_to(folder).as_posix()
    return Model(
        name=path.stem,
        file=file,
        description=" ".join(declaration.description.split()),
        partitions=declaration.partitions,
        unique_key=declaration.config.unique_key,
        refs=tuple(dict.fromkeys(_REF.findall(sql))),
        sources=tuple(dict.fromkeys(_SOURCE.findall(sql))),
        columns=declaration.columns,
        tests=tests,
        code_hash=hasher.hexdigest()[:16],
    )


def _check_references(models: Mapping[str, Model], sources: Iterable[tuple[str, str]]) -> None:
    for model in models.values():
        unknown_names = [name for name in model.refs if name not in models]
        unknown_names += [".".join(pair) for pair in model.sources if pair not in sources]
        if unknown_names:
            raise SqlProjectError(
                f"find the tables that {model.file} reads",
                found=f"no {', '.join(unknown_names)} among {', '.join(sorted(models))}, "
                f"{', '.join(sorted(map('.'.join, sources)))}",
                next_step="write the file, or declare the source in schema.yml",
            )


def _sort_models(models: Mapping[str, Model]) -> tuple[Model, ...]:
    """Return the models in dependency order; `TopologicalSorter` names the models of a cycle."""
    order = TopologicalSorter({name: model.refs for name, model in models.items()}).static_order()
    return tuple(models[name] for name in order)
