"""An asset's body reads, calls one function and tells: what is longer lacks the function.

The bodies are read and not run; docstrings do not count.
"""

from __future__ import annotations

import ast
from pathlib import Path

import twin_assets

MAX_LINES = 15
DECORATORS = ("dg.asset", "table_asset")
LONGER = {
    "judged_interactions": "seven resources and a panel are handed on; what keeps the sum is told",
    "routing_labels": "as judged_interactions",
    "shadow_pairs": "as judged_interactions",
}


def bodies() -> dict[str, int]:
    """Asset → lines of its body, from the first statement to the end of the last."""
    found: dict[str, int] = {}
    for path in sorted(Path(twin_assets.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and any(map(is_asset, node.decorator_list)):
                start = node.body[1] if ast.get_docstring(node) else node.body[0]
                found[node.name] = (node.body[-1].end_lineno or 0) - start.lineno + 1
    return found


def is_asset(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and ast.unparse(decorator.func) in DECORATORS


def test_every_body_is_short_but_those_with_a_reason() -> None:
    lines = bodies()
    assert len(lines) >= 17  # every Python asset, and the one that makes all marts
    assert {name for name, count in lines.items() if count > MAX_LINES} == LONGER.keys()
    assert len(LONGER) <= 3
    assert all(LONGER.values())
