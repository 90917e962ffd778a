"""Test that the project does not grow beyond the ceilings in `sizes.toml`.

A change that needs a higher ceiling raises it in the same commit and gives the reason in the commit
message. A change that needs less lowers it. This command writes the current numbers:

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
from tests.unit.documents.prose import PAGES, count_words

SIZES = Path(__file__).with_name("sizes.toml")
LONG_FUNCTION = 60  # lines, without its docstring
WIDE_RECORD = 20  # fields
FOLDERS = ("twin_resources", "twin_assets", "twin_sensors", "deploy", "tests")
STEP = 50
COUNTED_BY_LINES = {*FOLDERS, "product", "document_words"}
SPLIT_BY_FOLDER = {"twin_resources", "twin_assets", "deploy"}  # each of their folders has a ceiling
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
class SourceMeasures:
    """Sizes in the sources.

    Attributes:
        lines: code lines by package.
        functions: lines of each function, without tests.
        records: fields of each record, without tests.
    """

    lines: Counter[str] = field(default_factory=Counter[str])
    functions: dict[str, int] = field(default_factory=dict[str, int])
    records: dict[str, int] = field(default_factory=dict[str, int])


def count_code_lines(source: str, docstrings: set[int]) -> int:
    """Count the lines with a token that is neither a comment nor a docstring."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NOT_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def find_docstring_lines(tree: ast.Module) -> Iterator[int]:
    """Yield the line numbers of every docstring of a file."""
    node_types = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, node_types) and ast.get_docstring(node, clean=False) is not None:
            yield from range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)


def package_name(path: Path) -> str:
    """Return `twin_assets/corpus` for `twin_assets/corpus/…`, and `tests` for `tests/…`."""
    first, *rest = path.relative_to(ROOT).parts
    return f"{first}/{rest[0]}" if first in SPLIT_BY_FOLDER and len(rest) > 1 else first


def is_record(node: ast.ClassDef) -> bool:
    """Return whether a class is a dataclass or a pydantic model."""
    words = {
        name.id
        for part in (*node.decorator_list, *node.bases)
        for name in ast.walk(part)
        if isinstance(name, ast.Name)
    }
    return bool(words & {"dataclass", "BaseModel", "TypedDict", "NamedTuple"})


@cache
def measure_sources() -> SourceMeasures:
    """Measure every Python file; the result is cached."""
    measures = SourceMeasures()
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            tree = ast.parse(source)
            docstrings = set(find_docstring_lines(tree))
            measures.lines[package_name(path)] += count_code_lines(source, docstrings)
            if folder == "tests":
                continue
            relative_path = path.relative_to(ROOT).as_posix()
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    body = range(node.lineno, (node.end_lineno or 0) + 1)
                    length = len(set(body) - docstrings)
                    measures.functions[f"{relative_path}::{node.name}:{node.lineno}"] = length
                elif isinstance(node, ast.ClassDef) and is_record(node):
                    fields = sum(isinstance(statement, ast.AnnAssign) for statement in node.body)
                    if node.name not in SETTINGS:
                        measures.records[f"{relative_path}::{node.name}"] = fields
    return measures


def find_gateway_imports() -> set[tuple[str, str]]:
    """Return (importer, imported) pairs of files and folders in `twin_resources/gateway`."""
    gateway = ROOT / "twin_resources" / "gateway"
    edges: set[tuple[str, str]] = set()
    for path in gateway.rglob("*.py"):
        importer = path.relative_to(gateway).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                parts = [*node.module.split("."), *(alias.name for alias in node.names[:1])]
                if parts[:2] == ["twin_resources", "gateway"] and parts[2] != importer:
                    edges.add((importer, parts[2]))
    return edges


def measure_sizes() -> dict[str, dict[str, int]]:
    """Return the current numbers in the structure of `sizes.toml`."""
    measures, edges = measure_sources(), find_gateway_imports()
    gateway = ROOT / "twin_resources" / "gateway"
    modules = [path for path in gateway.iterdir() if path.suffix == ".py" or path.is_dir()]
    modules = [path for path in modules if path.name not in {"__init__.py", "__pycache__"}]
    return {
        "lines": dict(sorted(measures.lines.items())),
        "all": {
            "product": sum(measures.lines.values()) - measures.lines["tests"],
            "settings": count_settings("Variables"),
            "author_settings": count_settings("An author's file"),
            "document_words": sum(count_words(path) for path in PAGES),
            "longest_function": max(measures.functions.values()),
            "functions_over_60_lines": count_over(measures.functions, LONG_FUNCTION),
            "widest_record": max(measures.records.values()),
            "records_over_20_fields": count_over(measures.records, WIDE_RECORD),
            "gateway_modules": len(modules),
            "gateway_imports": len(edges),
        },
    }


def count_settings(title: str) -> int:
    """Count the settings in a table of `settings.md`; another test compares it with the code."""
    page = (ROOT / "deploy" / "docs" / "settings.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return len(re.findall(r"^\| `", section, re.MULTILINE))


def count_over(sizes: dict[str, int], limit: int) -> int:
    """Count the numbers above a limit."""
    return sum(number > limit for number in sizes.values())


def list_largest() -> list[str]:
    """Return the longest functions and widest records, the first candidates to split."""
    measures = measure_sources()
    rows = sorted(measures.functions.items(), key=lambda item: -item[1])[:5]
    rows += sorted(measures.records.items(), key=lambda item: -item[1])[:3]
    return [f"{number} {name}" for name, number in rows]


def read_ceilings() -> dict[str, dict[str, int]]:
    """Return the content of `sizes.toml`."""
    return tomllib.loads(SIZES.read_text(encoding="utf-8"))


def round_up(name: str, number: int) -> int:
    """Round lines and words up to the next fifty; return any other number unchanged."""
    step = STEP if name in COUNTED_BY_LINES or "/" in name else 1
    return -(-number // step) * step


@pytest.mark.parametrize("table", ["all", "lines"])
def test_no_ceiling_is_exceeded(table: str) -> None:
    sizes, ceilings = measure_sizes()[table], read_ceilings()[table]

    exceeded = {
        name: f"{number}, ceiling {ceilings.get(name, 0)}"
        for name, number in sizes.items()
        if number > ceilings.get(name, 0)
    }
    assert exceeded == {}, (
        "reduce it, or raise the ceiling in tests/unit/sizes.toml and say why in the commit "
        f"(`python -m tests.unit.test_size` writes the numbers). The largest: {list_largest()}"
    )


def test_every_ceiling_has_a_package() -> None:
    assert set(read_ceilings()["lines"]) <= set(measure_sources().lines)


def test_the_documents_have_at_most_18_000_words() -> None:
    assert read_ceilings()["all"]["document_words"] <= 18_000


if __name__ == "__main__":
    text = HEAD
    for name, rows in measure_sizes().items():
        lines = [f'"{key}" = {round_up(key, value)}\n' for key, value in rows.items()]
        text += f"\n[{name}]\n" + "".join(lines)
    SIZES.write_text(text, encoding="utf-8")
