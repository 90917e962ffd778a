"""Test that public class names are unique and that names in the glossary exist."""

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
def find_public_classes() -> dict[str, list[str]]:
    """Map each public class name to the files that define it."""
    files_by_name: dict[str, list[str]] = defaultdict(list)
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    files_by_name[node.name].append(str(path.relative_to(ROOT)))
    return files_by_name


def test_public_class_names_are_unique() -> None:
    files_by_name = find_public_classes()

    assert len(files_by_name) > 500
    assert {name: files for name, files in files_by_name.items() if len(files) > 1} == {}


def test_files_and_classes_in_the_glossary_exist() -> None:
    quoted = re.findall(r"`([^`\n]+)`", GLOSSARY)
    paths = [word for word in quoted if "/" in word]
    names = [word for word in quoted if re.fullmatch(r"[A-Z]\w+", word)]

    assert len(paths) > 30
    assert len(names) > 8
    assert [path for path in paths if not (ROOT / path).exists()] == []
    existing = find_public_classes()
    assert [name for name in names if name not in existing] == []
