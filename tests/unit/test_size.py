"""The project stays as small as it is: no number of `sizes.toml` is exceeded.

A change that needs more raises the number in the same commit and says why in its message; one that
needs less lowers it. Today's numbers are written by

    python -m tests.unit.test_size
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.unit.documents.prose import PAGES, words_of

SIZES = Path(__file__).with_name("sizes.toml")
LONG_FUNCTION = 60  # lines, without its docstring
WIDE_RECORD = 20  # fields
FOLDERS = ("twin_resources", "twin_assets", "twin_sensors", "deploy", "tests")
STEP = 50
COUNTED_BY_LINES = {*FOLDERS, "product", "document_words"}
BY_STAGE = {"twin_resources", "twin_assets", "deploy"}  # a number for each folder in them
SETTINGS = {"Settings", "Constants", "Author"}  # their fields have ceilings of their own
NOT_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER,
}  # fmt: skip
HEAD = """\
# Ceilings that tests/unit/test_size.py holds. Written by `python -m tests.unit.test_size`.
# Code lines are those without comments, docstrings and blanks; lines and words are rounded up to
# the next fifty, so that not every commit touches this file.
"""


@dataclass
class Measured:
    """What reading every file once gives; functions and records are of the product alone."""

    lines: Counter[str] = field(default_factory=Counter[str])
    functions: dict[str, int] = field(default_factory=dict[str, int])
    records: dict[str, int] = field(default_factory=dict[str, int])


def code_lines(source: str, docstrings: set[int]) -> int:
    """Lines of a file with a token that is neither a comment nor a docstring."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NOT_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def docstring_lines(tree: ast.Module) -> Iterator[int]:
    """Line numbers of every docstring of a file."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            yield from range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)


def package_of(path: Path) -> str:
    """`twin_assets/corpus/…` by `twin_assets/corpus`, `tests/…` by `tests`."""
    first, *rest = path.relative_to(ROOT).parts
    return f"{first}/{rest[0]}" if first in BY_STAGE and len(rest) > 1 else first


def is_record(node: ast.ClassDef) -> bool:
    """Whether a class is a dataclass or a model of pydantic."""
    words = {
        name.id
        for part in (*node.decorator_list, *node.bases)
        for name in ast.walk(part)
        if isinstance(name, ast.Name)
    }
    return bool(words & {"dataclass", "BaseModel", "TypedDict", "NamedTuple"})


@cache
def measured() -> Measured:
    """Every Python file, read once."""
    found = Measured()
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            tree = ast.parse(source)
            docstrings = set(docstring_lines(tree))
            found.lines[package_of(path)] += code_lines(source, docstrings)
            if folder == "tests":
                continue
            place = path.relative_to(ROOT).as_posix()
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    own = range(node.lineno, (node.end_lineno or 0) + 1)
                    length = len(set(own) - docstrings)
                    found.functions[f"{place}::{node.name}:{node.lineno}"] = length
                elif isinstance(node, ast.ClassDef) and is_record(node):
                    fields = sum(isinstance(one, ast.AnnAssign) for one in node.body)
                    if node.name not in SETTINGS:
                        found.records[f"{place}::{node.name}"] = fields
    return found


def gateway_imports() -> set[tuple[str, str]]:
    """(importer, imported) between the files and folders of `twin_resources/gateway`."""
    gateway = ROOT / "twin_resources" / "gateway"
    edges: set[tuple[str, str]] = set()
    for path in gateway.rglob("*.py"):
        own = path.relative_to(gateway).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                parts = [*node.module.split("."), *(alias.name for alias in node.names[:1])]
                if parts[:2] == ["twin_resources", "gateway"] and parts[2] != own:
                    edges.add((own, parts[2]))
    return edges


def sizes() -> dict[str, dict[str, int]]:
    """Today's numbers, as `sizes.toml` holds them."""
    found, edges = measured(), gateway_imports()
    gateway = ROOT / "twin_resources" / "gateway"
    modules = [one for one in gateway.iterdir() if one.suffix == ".py" or (one.is_dir())]
    rooms = [module for module in modules if module.name not in {"__init__.py", "__pycache__"}]
    return {
        "lines": dict(sorted(found.lines.items())),
        "all": {
            "product": sum(found.lines.values()) - found.lines["tests"],
            "settings": rows_of_settings("Variables"),
            "author_settings": rows_of_settings("An author's file"),
            "document_words": sum(words_of(path) for path in PAGES),
            "longest_function": max(found.functions.values()),
            "functions_over_60_lines": over(found.functions, LONG_FUNCTION),
            "widest_record": max(found.records.values()),
            "records_over_20_fields": over(found.records, WIDE_RECORD),
            "gateway_modules": len(rooms),
            "gateway_imports": len(edges),
        },
    }


def rows_of_settings(title: str) -> int:
    """How many settings a table of `settings.md` has, which another test holds to the code."""
    page = (ROOT / "deploy" / "docs" / "settings.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return len(re.findall(r"^\| `", section, re.MULTILINE))


def over(found: dict[str, int], limit: int) -> int:
    """How many are above a limit."""
    return sum(number > limit for number in found.values())


def largest() -> list[str]:
    """The longest functions and widest records, to know what to split."""
    found = measured()
    rows = sorted(found.functions.items(), key=lambda item: -item[1])[:5]
    rows += sorted(found.records.items(), key=lambda item: -item[1])[:3]
    return [f"{number} {name}" for name, number in rows]


def ceilings() -> dict[str, dict[str, int]]:
    """What `sizes.toml` says."""
    return tomllib.loads(SIZES.read_text(encoding="utf-8"))


def rounded(name: str, number: int) -> int:
    """A ceiling for a number: the next fifty for lines and words, else the number itself."""
    step = STEP if name in COUNTED_BY_LINES or "/" in name else 1
    return -(-number // step) * step


@pytest.mark.parametrize("table", ["all", "lines"])
def test_no_ceiling_is_exceeded(table: str) -> None:
    today, held = sizes()[table], ceilings()[table]

    above = {
        name: f"{number}, ceiling {held.get(name, 0)}"
        for name, number in today.items()
        if number > held.get(name, 0)
    }
    assert above == {}, (
        "make it smaller, or raise the number in tests/unit/sizes.toml and say why in the commit "
        f"(`python -m tests.unit.test_size` writes today's). The largest: {largest()}"
    )


def test_a_package_that_is_gone_has_no_ceiling() -> None:
    assert set(ceilings()["lines"]) <= set(measured().lines)


def test_the_documents_stay_an_evening() -> None:
    assert ceilings()["all"]["document_words"] <= 18_000


def test_code_lines_are_counted_without_comments_and_docstrings() -> None:
    source = '"""A module.\n\nLong."""\n\n# why\nx = (\n    1,\n)\n\n\ndef f():\n    """Do."""\n'
    docstrings = set(docstring_lines(ast.parse(source)))

    assert docstrings == {1, 2, 3, 12}
    assert code_lines(source, docstrings) == 4


if __name__ == "__main__":
    text = HEAD
    for name, rows in sizes().items():
        lines = [f'"{key}" = {rounded(key, value)}\n' for key, value in rows.items()]
        text += f"\n[{name}]\n" + "".join(lines)
    SIZES.write_text(text, encoding="utf-8")
