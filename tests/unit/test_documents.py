"""The documents: their links lead somewhere, and what they quote of the program is what it says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted((ROOT / "deploy" / "docs").glob("*.md"))
CODE = "\n".join(
    path.read_text(encoding="utf-8")
    for folder in ("twin_resources", "twin_assets", "twin_sensors", "deploy")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".sh"}
)
_LINK = re.compile(r"\]\(([^)#\s]+)")
_QUOTED = re.compile(r"`([^`]+)`")
_PYTHON_FILE = re.compile(r"`([\w/]+\.py)`")


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "README.md"], ids=lambda path: path.name)
def test_links_to_files_lead_to_files(path: Path) -> None:
    links = _LINK.findall(path.read_text(encoding="utf-8"))

    broken = [one for one in links if "://" not in one and not (path.parent / one).exists()]
    assert broken == []


def test_the_messages_in_troubleshooting_are_the_programs_own() -> None:
    text = (ROOT / "deploy" / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    # the code breaks long messages over lines, and writes values in braces
    said = re.sub(r'"\s*\n\s*f?"', "", CODE).replace("`", "").replace("\\", "")
    missing: list[str] = []
    for row in text.splitlines():
        symptom = row.split("|")[1] if row.startswith("| ") else ""
        for quoted in _QUOTED.findall(symptom):
            parts = [part.strip(" ():") for part in re.split("…|NAME", quoted)]
            missing += [part for part in parts if len(part) > 3 and part not in said]

    assert missing == []


def named_files(path: Path) -> list[str]:
    """Python files that the docstrings of a file name, as they name them."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    strings = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented)]
    return [name for text in strings if text for name in _PYTHON_FILE.findall(text)]


def test_a_docstring_names_files_that_are_there() -> None:
    folders = ("twin_resources", "twin_assets", "twin_sensors", "deploy", "tests")
    files = [path for name in folders for path in (ROOT / name).rglob("*.py")]
    there = {"/".join(path.parts[-depth:]) for path in files for depth in range(1, 8)}

    missing = [(path.name, name) for path in files for name in named_files(path)]
    assert [(path, name) for path, name in missing if name not in there] == []
