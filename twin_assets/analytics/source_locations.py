"""Where in the SQL project something stands, and the error that says so.

Belongs here: file and line, the error, YAML whose words remember their line.
Does not belong here: what the words mean (`project.py`, `declarations.py`).
Marks of PyYAML's nodes: https://pyyaml.org/wiki/PyYAMLDocumentation
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from twin_resources.errors import TwinError


@dataclass(frozen=True, order=True)
class SourceLocation:
    """A line of a file of the project; `file` is relative to its folder."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class SqlProjectError(TwinError):
    """A file of the SQL project cannot be used as it stands; `place` says where."""

    def __init__(self, tried: str, place: SourceLocation, *, found: str, next_step: str) -> None:
        self.place = place
        super().__init__(f"{tried} ({place})", found=found, next_step=next_step)


class LocatedString(str):
    """A YAML string that remembers its line."""

    __slots__ = ("line",)
    line: int


class LocatedMapping(dict[str, Any]):
    """A YAML mapping that remembers its line."""

    line: int


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader, in C where there is one: at import each millisecond counts."""


def _word(loader: Any, node: yaml.ScalarNode) -> LocatedString:
    word = LocatedString(loader.construct_scalar(node))
    word.line = node.start_mark.line + 1
    return word


def _fields(loader: Any, node: yaml.MappingNode) -> LocatedMapping:
    loader.flatten_mapping(node)
    fields = LocatedMapping(loader.construct_mapping(node, deep=True))
    fields.line = node.start_mark.line + 1
    return fields


_Loader.add_constructor("tag:yaml.org,2002:str", _word)
_Loader.add_constructor("tag:yaml.org,2002:map", _fields)


@dataclass(frozen=True)
class YamlFile:
    """One YAML file of the project; every complaint about it names the line."""

    file: str
    document: LocatedMapping

    @classmethod
    def read(cls, folder: Path, path: Path) -> YamlFile:
        """Read one file.

        Raises:
            SqlProjectError: it is no YAML, or no mapping.
        """
        file = path.relative_to(folder).as_posix()
        try:
            document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise SqlProjectError(
                "read YAML",
                SourceLocation(file, line),
                found=error.problem or "no YAML",
                next_step="mend the file",
            ) from error
        if not isinstance(document, LocatedMapping):
            raise SqlProjectError(
                "read YAML",
                SourceLocation(file, 1),
                found="no mapping",
                next_step="write `version: 2` …",
            )
        return cls(file, document)

    def place(self, thing: object, otherwise: LocatedMapping | None = None) -> SourceLocation:
        """Where a word or mapping stands; for other values, where `otherwise` does."""
        line = getattr(thing, "line", None) or getattr(otherwise, "line", 1)
        return SourceLocation(self.file, line)

    def allow(self, fields: Mapping[str, Any], names: Iterable[str], *, of: str) -> None:
        """Refuse keys that would be ignored in silence.

        Raises:
            SqlProjectError: another key than `names`.
        """
        for name in fields:
            if name not in (allowed := set(names)):
                raise self.wrong(
                    name,
                    f"read {of}",
                    found=f"the key {str(name)!r}",
                    next_step=f"use only {', '.join(sorted(allowed))}",
                )

    def mapping(self, value: Any, within: LocatedMapping, *, of: str) -> LocatedMapping:
        """The value, which must be a mapping or missing."""
        if value is None:
            empty = LocatedMapping()
            empty.line = within.line
            return empty
        return self._typed(value, within, kind=LocatedMapping, of=of, what="a mapping")

    def listed(self, value: Any, within: LocatedMapping, *, of: str) -> list[Any]:
        """The value, which must be a list or missing."""
        return [] if value is None else self._typed(value, within, kind=list, of=of, what="a list")

    def word(self, fields: LocatedMapping, name: str, *, of: str) -> LocatedString:
        """A string that must be there."""
        return self._typed(
            fields.get(name), fields, kind=LocatedString, of=f"{of}: {name}", what="a string"
        )

    def wrong(self, thing: object, tried: str, *, found: str, next_step: str) -> SqlProjectError:
        """The error about one word or mapping of this file."""
        return SqlProjectError(tried, self.place(thing), found=found, next_step=next_step)

    def _typed(
        self, value: Any, within: LocatedMapping, *, kind: Callable[..., Any], of: str, what: str
    ) -> Any:
        if not isinstance(value, kind):  # type: ignore[arg-type]
            raise SqlProjectError(
                f"read {of}",
                self.place(value, within),
                found=f"{value!r}"[:80],
                next_step=f"write {what}",
            )
        return value
