"""Test that the rows of `deploy/docs/promises.md` are in the README and name existing tests."""

from __future__ import annotations

import ast
import re

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "deploy" / "docs" / "promises.md").read_text(encoding="utf-8")
TEST_CELLS = re.findall(r"\| (`tests/.+) \|$", PAGE, re.MULTILINE)
QUOTED_PROMISES = re.findall(r"^\| ([^|]+?) \| `tests/.+ \|$", PAGE, re.MULTILINE)


def _plain(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("quoted", QUOTED_PROMISES)
def test_every_row_is_in_the_readme(quoted: str) -> None:
    assert _plain(quoted) in _plain(README)


@pytest.mark.parametrize("cell", TEST_CELLS)
def test_the_tests_of_a_promise_exist(cell: str) -> None:
    file = ""
    for reference in re.findall(r"`([^`]*)`", cell):
        path, _, function = reference.partition("::")
        file = path or file
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        tests = {
            node.name: [ast.unparse(mark) for mark in node.decorator_list]
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.startswith("test_")
        }
        selected = {function: tests.get(function)} if function else tests
        assert selected, f"{file} has no test"
        for name, marks in selected.items():
            assert marks is not None, f"{file} has no {name}"
            assert not [
                mark for mark in marks if mark.endswith("mark.skip") or "mark.skip(" in mark
            ]
