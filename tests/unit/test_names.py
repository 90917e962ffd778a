"""Names: a public class name stands once, and the glossary names what is there."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("twin_resources", "twin_assets", "twin_sensors", "deploy/twin_cli", "deploy/checkout")
GLOSSARY = (ROOT / "deploy" / "docs" / "glossary.md").read_text(encoding="utf-8")


@cache
def classes() -> dict[str, list[str]]:
    """Public class name → files that define one of that name."""
    found: dict[str, list[str]] = defaultdict(list)
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    found[node.name].append(str(path.relative_to(ROOT)))
    return found


def test_a_public_class_name_stands_once() -> None:
    found = classes()

    assert len(found) > 500
    assert {name: files for name, files in found.items() if len(files) > 1} == {}


def test_the_glossary_names_files_and_classes_that_are_there() -> None:
    quoted = re.findall(r"`([^`\n]+)`", GLOSSARY)
    paths = [one for one in quoted if "/" in one]
    names = [one for one in quoted if re.fullmatch(r"[A-Z]\w+", one)]

    assert len(paths) > 30
    assert len(names) > 8
    assert [path for path in paths if not (ROOT / path).exists()] == []
    there = classes()
    assert [name for name in names if name not in there] == []
