"""Render SQL with Jinja and dbt's functions.

Scope: `ref`, `source`, `var`, macros, and `{% test %}` blocks.
Out of scope: finding the models (`project.py`) and running SQL (`duckdb_session.py`).
Functions: https://docs.getdbt.com/reference/dbt-jinja-functions; test blocks:
https://docs.getdbt.com/best-practices/writing-custom-generic-tests
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from twin_assets.analytics import built_in_tests
from twin_assets.analytics.declarations import SqlProjectError
from twin_assets.analytics.project import Model, Project
from twin_resources.errors import TwinError

TEST_PREFIX = "test_"  # a block `{% test unique(…) %}` becomes the macro `test_unique`, as in dbt


@dataclass(frozen=True)
class RenderedSql:
    """SQL that DuckDB can run.

    Attributes:
        name: path of the model's file, or name of the test.
        sql: one statement.
    """

    name: str
    sql: str


class _TestBlocks(Extension):
    """Extension that turns `{% test name(model, …) %} … {% endtest %}` into a macro `test_name`."""

    tags = {"test"}  # noqa: RUF012 - declared by jinja2

    def parse(self, parser: Parser) -> nodes.Node:
        macro = nodes.Macro(lineno=next(parser.stream).lineno)
        name = parser.parse_assign_target(name_only=True).name
        parser.parse_signature(macro)
        macro.name = f"{TEST_PREFIX}{name}"
        macro.body = parser.parse_statements(("name:endtest",), drop_needle=True)
        return macro


class Renderer:
    """Renders the models and tests of one project."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._environment = jinja2.Environment(
            loader=jinja2.ChoiceLoader(
                [
                    jinja2.FileSystemLoader(project.folder),
                    jinja2.DictLoader({built_in_tests.FILE: built_in_tests.SQL}),
                ]
            ),
            undefined=jinja2.StrictUndefined,
            extensions=[_TestBlocks],
        )
        template_globals = self._environment.globals
        template_globals.update(ref=self._ref, source=self._source, var=self._var)
        # Macros can call each other across files, because globals are looked up at call time.
        for file in (built_in_tests.FILE, *project.macro_files):
            macros = vars(
                self._render(file, lambda file=file: self._environment.get_template(file).module)
            )
            template_globals.update(
                {name: macro for name, macro in macros.items() if not name.startswith("_")}
            )

    def render_model(self, model: Model) -> RenderedSql:
        """Return the rendered SQL of a model.

        Raises:
            SqlProjectError: Jinja cannot render it.
        """
        sql = self._render(model.file, lambda: self._environment.get_template(model.file).render())
        return RenderedSql(model.file, sql.strip())

    def render_test(self, kind: str, relation: str, *, name: str, **values: Any) -> RenderedSql:
        """Return the rendered SQL of a generic test, which selects the invalid rows of `relation`.

        Raises:
            SqlProjectError: the test does not exist or does not accept these arguments.
        """
        macro: Any = self._environment.globals.get(TEST_PREFIX + kind)
        if macro is None:
            raise SqlProjectError(
                f"find the data test {kind} of {name}",
                found="no test of this name",
                next_step=f"correct the name in schema.yml, or write tests/generic/{kind}.sql",
            )
        sql = self._render(f"the data test {name}", lambda: str(macro(relation, **values)))
        return RenderedSql(name, sql.strip())

    def _render(self, name: str, render: Callable[[], Any]) -> Any:
        """Call `render` and return its result.

        Raises:
            SqlProjectError: Jinja fails, or the template refers to something that does not exist.
        """
        try:
            return render()
        except (jinja2.TemplateError, TwinError, TypeError) as error:
            line = getattr(error, "lineno", None)
            raise SqlProjectError(
                f"render {getattr(error, 'name', None) or name}{f':{line}' if line else ''}",
                found=error.found if isinstance(error, TwinError) else str(error),
                next_step="correct the template",
            ) from error

    def _ref(self, name: str) -> str:
        if name not in {model.name for model in self.project.models}:
            raise TwinError("ref", found=f"no model {name!r}", next_step="add its file")
        return f'"{name}"'

    def _source(self, source: str, name: str) -> str:
        if (source, name) not in self.project.sources:
            raise TwinError(
                "source", found=f"no {source}.{name}", next_step="declare it in schema.yml"
            )
        return f'"{source}"."{name}"'

    def _var(self, name: str) -> Any:
        if name not in self.project.variables:
            raise TwinError(
                "var", found=f"no variable {name!r}", next_step="set it in dbt_project.yml"
            )
        return self.project.variables[name]
