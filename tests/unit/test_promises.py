"""Test that `deploy/docs/promises.md` lists each promise of the README with existing tests."""

from __future__ import annotations

import ast
import re

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "deploy" / "docs" / "promises.md").read_text(encoding="utf-8")
TEST_CELLS = re.findall(r"\| (`tests/.+) \|$", PAGE, re.MULTILINE)
QUOTED_PROMISES = re.findall(r"^\| ([^|]+?) \| `tests/.+ \|$", PAGE, re.MULTILINE)
PROMISE_WORDS = re.compile(
    r"\b(never|always|nothing|nobody|only|every|everything|each|at most|exactly|must|verified"
    r"|proved|erased|replaced|word for word|stay out|kept to|at any point|real)\b",
    re.IGNORECASE,
)
EXEMPT = ("Each promise above names its tests",)  # refers to the table


def _plain(text: str) -> str:
    return " ".join(text.split())


def _sentences() -> list[str]:
    """Return the README's sentences and table cells, without code, quotations and headings."""
    prose = re.sub(r"^(```.*?^```|>.*?|!.*?|#.*?)$", "", README, flags=re.MULTILINE | re.DOTALL)
    parts = re.split(r"\n\n|\n(?=\|)|\|", prose)
    return [text for part in parts for text in re.split(r"(?<=[.:;])\s+", _plain(part)) if text]


def test_every_promise_is_in_the_table() -> None:
    promised = [_plain(quoted) for quoted in QUOTED_PROMISES]
    sentences = [sentence for sentence in _sentences() if PROMISE_WORDS.search(sentence)]

    assert len(sentences) > 5
    unproved = [
        sentence
        for sentence in sentences
        if not any(
            sentence.strip(". ;:") in row or row.strip(". ;:") in sentence for row in promised
        )
        and not any(words in sentence for words in EXEMPT)
    ]
    assert unproved == []


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
