"""Jinja with dbt's words, and where each line of the rendered SQL came from.

Belongs here: `ref`, `source`, `var`, `config`, macros, `{% test %}` blocks, the map of lines.
Does not belong here: which models there are (`project.py`), running SQL (`duckdb_session.py`).
Words: https://docs.getdbt.com/reference/dbt-jinja-functions; blocks of tests:
https://docs.getdbt.com/best-practices/writing-custom-generic-tests

Every line of template text is marked with its file and line before Jinja sees it, and the marks are
taken out of what Jinja gives back. So an error in a macro's line names the macro's file, and blocks
that vanish or repeat do not shift the count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from jinja2.parser import Parser

from twin_assets.analytics.project import Model, Project
from twin_assets.analytics.source_locations import SourceLocation, SqlProjectError
from twin_resources.errors import TwinError

# Characters of the private use area: they are in no SQL.
_OPEN, _BETWEEN, _CLOSE = "\ue000", "\ue001", "\ue002"
_MARK = re.compile(f"{_OPEN}([^{_BETWEEN}]*){_BETWEEN}(\\d+){_CLOSE}")
TEST = "test_"  # a block `{% test unique(…) %}` is the macro `test_unique`, as in dbt


@dataclass(frozen=True)
class RenderedSql:
    """SQL ready to run.

    Attributes:
        name: of the model or test.
        sql: one statement.
        places: the origin of each of its lines.
        refs, sources: what it asked for while it was rendered.
        config: what it said of itself.
    """

    name: str
    sql: str
    places: tuple[SourceLocation, ...]
    refs: frozenset[str]
    sources: frozenset[tuple[str, str]]
    config: Mapping[str, Any]

    def place(self, line: int) -> SourceLocation:
        """Origin of a line of `sql`, counted from 1."""
        return self.places[min(max(line, 1), len(self.places)) - 1]


@dataclass
class _Asked:
    """What one rendering has asked for so far."""

    refs: set[str] = field(default_factory=set[str])
    sources: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    config: dict[str, Any] = field(default_factory=dict[str, Any])


class _Marks(Extension):
    """Puts a mark before every line of text."""

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        for token in stream:
            if token.type != "data":
                yield token
                continue
            lines = token.value.split("\n")
            marked = (
                f"{_OPEN}{stream.name}{_BETWEEN}{token.lineno + offset}{_CLOSE}{line}"
                for offset, line in enumerate(lines)
            )
            yield Token(token.lineno, "data", "\n".join(marked))


class _TestBlocks(Extension):
    """`{% test name(model, …) %} … {% endtest %}` as the macro `test_name`."""

    tags = {"test"}  # noqa: RUF012 - jinja's own declaration

    def parse(self, parser: Parser) -> nodes.Node:
        macro = nodes.Macro(lineno=next(parser.stream).lineno)
        name = parser.parse_assign_target(name_only=True).name
        parser.parse_signature(macro)
        macro.name = f"{TEST}{name}"
        macro.body = parser.parse_statements(("name:endtest",), drop_needle=True)
        return macro


class Renderer:
    """Renders the models and tests of one project."""

    def __init__(self, project: Project, *, built_in: Mapping[str, str] | None = None) -> None:
        self.project = project
        self._asked = _Asked()
        self._environment = jinja2.Environment(
            loader=jinja2.ChoiceLoader(
                [jinja2.FileSystemLoader(project.folder), jinja2.DictLoader(dict(built_in or {}))]
            ),
            undefined=jinja2.StrictUndefined,
            extensions=[_Marks, _TestBlocks, "jinja2.ext.do"],
            keep_trailing_newline=True,
        )
        self._environment.globals.update(
            ref=self._ref, source=self._source, var=self._var, config=self._config
        )
        # macros see each other, whichever file they are in: globals are looked up at the call
        for name in (*(built_in or {}), *project.macro_files):
            self._environment.globals.update(self._macros(name))

    def model(self, model: Model) -> RenderedSql:
        """The SQL of a model.

        Raises:
            SqlProjectError: Jinja cannot render it, or what it asks for is not what `project.py`
                read from it.
        """
        rendered = self._render(model.name, model.file)
        if rendered.refs != set(model.refs) or rendered.sources != set(model.sources):
            raise SqlProjectError(
                f"render the model {model.name}",
                SourceLocation(model.file, 1),
                found=f"it reads {_shown(rendered)} when rendered, but {_shown(model)} as written",
                next_step="take ref() and source() out of conditions and macros",
            )
        return rendered

    def test(
        self, kind: str, relation: str, *, name: str, place: SourceLocation, **values: Any
    ) -> RenderedSql:
        """The SQL of a generic test: the rows of `relation` that are wrong.

        Raises:
            SqlProjectError: there is no such test, or it does not take these arguments.
        """
        macro = self._environment.globals.get(TEST + kind)
        if macro is None:
            known = sorted(
                item.removeprefix(TEST)
                for item in self._environment.globals
                if item.startswith(TEST)
            )
            raise SqlProjectError(
                f"find the data test {kind}",
                place,
                found=f"the tests {', '.join(known)}",
                next_step="use one of them, or write tests/generic/<name>.sql",
            )
        self._asked = _Asked()
        try:
            text = str(macro(relation, **values))
        except (jinja2.TemplateError, TypeError) as error:
            raise SqlProjectError(
                f"render the data test {kind}",
                place,
                found=str(error),
                next_step="give the arguments that the test takes",
            ) from error
        return self._finished(name, text, first=place)

    def relation(self, words: str, place: SourceLocation) -> tuple[str, RenderedSql]:
        """`ref('…')` or `source('…', '…')` out of a YAML value, as a relation.

        Raises:
            SqlProjectError: it is neither.
        """
        self._asked = _Asked()
        try:
            value = self._environment.compile_expression(words, undefined_to_none=False)()
        except (jinja2.TemplateError, TwinError, TypeError) as error:
            value = error
        if not isinstance(value, str) or not (self._asked.refs or self._asked.sources):
            raise SqlProjectError(
                f"read {words}",
                place,
                found=getattr(value, "found", str(value))
                if isinstance(value, Exception)
                else "no relation",
                next_step="write ref('model') or source('source', 'table')",
            )
        return value, self._finished(words, value, first=place)

    def _render(self, name: str, file: str) -> RenderedSql:
        self._asked = _Asked()
        try:
            text = self._environment.get_template(file).render()
        except (jinja2.TemplateError, TwinError, TypeError) as error:
            raise self._failed(file, error) from error
        return self._finished(name, text, first=SourceLocation(file, 1))

    def _finished(self, name: str, text: str, *, first: SourceLocation) -> RenderedSql:
        lines: list[str] = []
        places: list[SourceLocation] = []
        latest = first
        for line in text.rstrip().split("\n"):
            marks = [SourceLocation(file, int(number)) for file, number in _MARK.findall(line)]
            # the mark right before the first word; a line may begin with the end of a macro's text
            begun = re.match(rf"(?:\s|{_MARK.pattern})*", line)
            before = len(_MARK.findall(begun[0])) if begun else 0
            places.append(marks[before - 1] if before else latest)
            latest = marks[-1] if marks else latest
            lines.append(_MARK.sub("", line).rstrip())
        while lines and not lines[0]:
            lines.pop(0)
            places.pop(0)
        while lines and not lines[-1]:
            lines.pop()
            places.pop()
        relations = self._asked
        return RenderedSql(
            name,
            "\n".join(lines),
            tuple(places) or (first,),
            frozenset(relations.refs),
            frozenset(relations.sources),
            relations.config,
        )

    def _macros(self, file: str) -> dict[str, Any]:
        try:
            module = self._environment.get_template(file).module
        except jinja2.TemplateError as error:
            raise self._failed(file, error) from error
        return {name: item for name, item in vars(module).items() if not name.startswith("_")}

    def _failed(self, file: str, error: Exception) -> SqlProjectError:
        """The error with the line of the template, which Jinja writes into the traceback."""
        place = SourceLocation(file, getattr(error, "lineno", None) or 1)
        if name := getattr(error, "name", None):
            place = SourceLocation(str(name), place.line)
        trace = None if isinstance(error, jinja2.TemplateSyntaxError) else error.__traceback__
        while trace is not None:
            path = Path(trace.tb_frame.f_code.co_filename)
            if path.is_relative_to(self.project.folder) and path.suffix == ".sql":
                within = path.relative_to(self.project.folder).as_posix()
                place = SourceLocation(within, trace.tb_lineno)
            trace = trace.tb_next
        reason = error.found if isinstance(error, TwinError) else str(error)
        step = error.next_step if isinstance(error, TwinError) else "mend the template"
        return SqlProjectError("render SQL", place, found=reason, next_step=step)

    def _ref(self, name: str) -> str:
        if name not in self.project.models_by_name():
            raise TwinError("ref", found=f"no model {name!r}", next_step="write the file")
        self._asked.refs.add(name)
        return f'"{name}"'

    def _source(self, source: str, name: str) -> str:
        if (source, name) not in self.project.sources:
            raise TwinError(
                "source", found=f"no {source}.{name}", next_step="declare it in schema.yml"
            )
        self._asked.sources.add((source, name))
        return f'"{source}"."{name}"'

    def _var(self, name: str, default: Any = None) -> Any:
        value = self.project.variables.get(name, default)
        if value is None:
            raise TwinError(
                "var", found=f"no variable {name!r}", next_step="set it in dbt_project.yml"
            )
        return value

    def _config(self, **values: Any) -> str:
        self._asked.config |= values
        return ""


def _shown(reads: RenderedSql | Model) -> str:
    names = sorted([*reads.refs, *(".".join(pair) for pair in reads.sources)])
    return ", ".join(names) or "nothing"
