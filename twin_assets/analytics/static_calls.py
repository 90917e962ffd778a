"""What a model says of itself in calls with constant arguments, read without rendering it.

Belongs here: finding `{{ ref(…) }}`, `{{ source(…) }}`, `{{ config(…) }}` in a file.
Does not belong here: rendering (`rendering.py` makes the same calls again when a step runs, and a
difference is an error), what a config may hold (`project.py`).

Jinja costs a tenth of a second to import and these calls are Python's syntax as well, so the asset
graph is known without it. dbt does the same: https://docs.getdbt.com/reference/parsing
"""
# pyright: strict

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any

from twin_assets.analytics.source_locations import SourceLocation, SqlProjectError

_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_EXPRESSION = re.compile(r"\{\{-?\s*((?:ref|source|config)\s*\(.*?\))\s*-?\}\}", re.DOTALL)
_MENTION = re.compile(r"\b(ref|source|config)\s*\(")


@dataclass(frozen=True)
class MacroCall:
    """One call: its name, its constant arguments, where it stands."""

    name: str
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    place: SourceLocation


def static_calls(text: str, file: str) -> list[MacroCall]:
    """The calls of one model, in the order of the file.

    Raises:
        SqlProjectError: an argument that is no constant, or one of these calls elsewhere than
            alone in `{{ }}`.
    """
    # as long as before, so that places stay
    bare = _COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    calls: list[MacroCall] = []
    inside: list[tuple[int, int]] = []
    for match in _EXPRESSION.finditer(bare):
        place = SourceLocation(file, bare.count("\n", 0, match.start(1)) + 1)
        calls.append(_call(match[1], place))
        inside.append(match.span())
    for tag in re.finditer(r"\{[{%].*?[%}]\}", bare, re.DOTALL):
        if any(start <= tag.start() < end for start, end in inside):
            continue
        if mention := _MENTION.search(tag[0]):
            raise SqlProjectError(
                f"read {mention[1]}()",
                SourceLocation(file, bare.count("\n", 0, tag.start() + mention.start()) + 1),
                found="a call inside a larger expression",
                next_step=f"write {{{{ {mention[1]}(…) }}}} alone, with constant arguments",
            )
    return calls


def _call(text: str, place: SourceLocation) -> MacroCall:
    try:
        parsed = ast.parse(text, mode="eval").body
        if not isinstance(parsed, ast.Call) or not isinstance(parsed.func, ast.Name):
            raise ValueError("no call")
        arguments = tuple(ast.literal_eval(argument) for argument in parsed.args)
        named = {
            str(item.arg): ast.literal_eval(item.value) for item in parsed.keywords if item.arg
        }
        if len(named) != len(parsed.keywords):
            raise ValueError("**")
    except (SyntaxError, ValueError) as error:
        raise SqlProjectError(
            f"read {text.splitlines()[0]}",
            place,
            found="arguments that are no constants",
            next_step="write strings, numbers, lists or dictionaries",
        ) from error
    return MacroCall(parsed.func.id, arguments, named, place)
