"""Read front matter that its format's parser rejects, entry by entry and line by line.

Scope: errors such as `title: Problem: Things`, `family: [[Smith]] [[Jones]]`, a tab before a key,
or an extra comma.
Out of scope: where front matter begins and ends, and strict parsers (`front_matter`).

An entry that cannot be parsed becomes text and does not affect the others. Below such an entry, a
line that would withhold the post counts as a separate entry.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twin_assets.corpus.importers.visibility_rules import parse_hiding_line

EntryParser = Callable[[str], object]
"""Strict parser of one entry that returns a mapping or raises `ValueError`."""

_YAML_ENTRY = re.compile(r"([\"']?)([^\W\d_][^:\n#]{0,60}?)\1[ \t]*::?(?:[ \t]+(.*)|$|(?=\w)(.*))")
_TOML_ENTRY = re.compile(r"([\"']?)([^\W\d_][\w .-]{0,60}?)\1[ \t]*[=:][ \t]*(.*)()")
_TOML_TABLE = re.compile(r"^\[+([\w .\"'-]+)\]+[ \t]*(?:#.*)?$", re.MULTILINE)
_ITEM = re.compile(r"[ \t]*-[ \t]+(.*)")


def parse_yaml(block: str, parse: EntryParser) -> dict[str, Any] | None:
    """Return the fields of a YAML block, or None if most of its lines are prose."""
    return _parse_lines(block, parse, _YAML_ENTRY)


def parse_toml(block: str, parse: EntryParser) -> dict[str, Any] | None:
    """Return a TOML block's fields, with tables as mappings, or None if most lines are prose."""
    table_parts = _TOML_TABLE.split(block)
    fields: dict[str, Any] = {}
    for name, table_text in zip(["", *table_parts[1::2]], table_parts[::2], strict=True):
        table = _parse_lines(table_text, parse, _TOML_ENTRY)
        if table is None:
            return None
        fields |= {name.strip(" \"'").lower(): table} if name else table
    return fields


def _parse_lines(block: str, parse: EntryParser, pattern: re.Pattern[str]) -> dict[str, Any] | None:
    entries: list[tuple[re.Match[str], list[str]]] = []
    prose_line_count = 0
    for line in block.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = pattern.fullmatch(line.rstrip())
        if match is not None:
            entries.append((match, []))
        elif entries:
            prose_line_count += not line.startswith((" ", "\t", "-", "]", "}", '"', "'"))
            entries[-1][1].append(line)
        else:
            prose_line_count += 1
    if prose_line_count > len(entries):
        return None
    fields: dict[str, Any] = {}
    for match, next_lines in entries:
        for key, value in _parse_entry(match, next_lines, parse).items():
            fields.setdefault(key, value)
    return fields


def _parse_entry(match: re.Match[str], next_lines: list[str], parse: EntryParser) -> dict[str, Any]:
    try:
        parsed_entry = parse("\n".join([match[0], *next_lines]) + "\n")
    except ValueError:
        parsed_entry = None
    if isinstance(parsed_entry, dict) and parsed_entry:
        return {str(key).strip().rstrip(":").lower(): value for key, value in parsed_entry.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    text = _strip_quotes(match[3] or match[4] or "")
    items = [item for line in next_lines if (item := _ITEM.fullmatch(line))]
    value: object = text
    if not text and next_lines and len(items) == len(next_lines):
        value = [_strip_quotes(item[1]) for item in items]
    elif next_lines:
        value = " ".join([text, *(line.strip() for line in next_lines)]).strip()
    fields = {match[2].strip().lower(): value}
    visibility_fields = (field for line in next_lines if (field := parse_hiding_line(line)))
    return fields | dict(visibility_fields)


def _strip_quotes(value: str) -> str:
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1].strip()
    return value
