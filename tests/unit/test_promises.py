"""Each promise of the README stands in `deploy/docs/promises.md` beside tests that are there."""

from __future__ import annotations

import ast
import re

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "deploy" / "docs" / "promises.md").read_text(encoding="utf-8")
NAMED = re.findall(r"\| (`tests/.+) \|$", PAGE, re.MULTILINE)
ROWS = re.findall(r"^\| ([^|]+?) \| `tests/.+ \|$", PAGE, re.MULTILINE)
PROMISES = re.compile(
    r"\b(never|always|nothing|nobody|only|every|everything|each|at most|exactly|must|verified"
    r"|proved|erased|replaced|word for word|stay out|kept to|at any point|real)\b",
    re.IGNORECASE,
)
NONE = ("Each promise above names its tests",)  # says where they stand


def _plain(text: str) -> str:
    return " ".join(text.split())


def _sentences() -> list[str]:
    """Sentences and cells of the README; no code, quotation, picture or heading."""
    prose = re.sub(r"^(```.*?^```|>.*?|!.*?|#.*?)$", "", README, flags=re.MULTILINE | re.DOTALL)
    parts = re.split(r"\n\n|\n(?=\|)|\|", prose)
    return [one for part in parts for one in re.split(r"(?<=[.:;])\s+", _plain(part)) if one]


def test_a_sentence_that_promises_is_in_the_table() -> None:
    promised = [_plain(quoted) for quoted in ROWS]
    sentences = [sentence for sentence in _sentences() if PROMISES.search(sentence)]

    assert len(sentences) > 5
    unproved = [
        sentence
        for sentence in sentences
        if not any(
            sentence.strip(". ;:") in row or row.strip(". ;:") in sentence for row in promised
        )
        and not any(words in sentence for words in NONE)
    ]
    assert unproved == []


@pytest.mark.parametrize("quoted", ROWS)
def test_the_readme_still_says_it(quoted: str) -> None:
    assert _plain(quoted) in _plain(README)


@pytest.mark.parametrize("named", NAMED)
def test_the_tests_that_a_promise_names_are_there(named: str) -> None:
    file = ""
    for one in re.findall(r"`([^`]*)`", named):
        path, _, function = one.partition("::")
        file = path or file
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        tests = {
            node.name: [ast.unparse(mark) for mark in node.decorator_list]
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.startswith("test_")
        }
        chosen = {function: tests.get(function)} if function else tests
        assert chosen, f"{file} has no test"
        for name, marks in chosen.items():
            assert marks is not None, f"{file} has no {name}"
            assert not [
                mark for mark in marks if mark.endswith("mark.skip") or "mark.skip(" in mark
            ]
