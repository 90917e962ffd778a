"""Test that the body of an asset is short: it reads, calls one function and reports.

The test parses the bodies and does not run them. Docstrings do not count.
"""

from __future__ import annotations

import ast
from pathlib import Path

import twin_assets

MAX_BODY_LINES = 15
DECORATORS = ("dg.asset", "table_asset")
REASONS_FOR_LONG_BODIES = {
    "judged_interactions": "passes seven resources and a panel, and reports the spending limit",
    "routing_labels": "like judged_interactions",
    "shadow_pairs": "like judged_interactions",
}


def count_body_lines() -> dict[str, int]:
    """Map each asset to the number of lines of its body."""
    line_counts: dict[str, int] = {}
    for path in sorted(Path(twin_assets.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and any(map(is_asset, node.decorator_list)):
                start = node.body[1] if ast.get_docstring(node) else node.body[0]
                line_counts[node.name] = (node.body[-1].end_lineno or 0) - start.lineno + 1
    return line_counts


def is_asset(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and ast.unparse(decorator.func) in DECORATORS


def test_long_bodies_have_a_reason() -> None:
    line_counts = count_body_lines()
    assert len(line_counts) >= 17  # every Python asset, and the asset of all marts
    assert {
        name for name, count in line_counts.items() if count > MAX_BODY_LINES
    } == REASONS_FOR_LONG_BODIES.keys()
    assert len(REASONS_FOR_LONG_BODIES) <= 3
    assert all(REASONS_FOR_LONG_BODIES.values())
