"""The documents: their links lead somewhere, and what they quote of the program is what it says."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from twin_cli.running import app
from typer.core import TyperGroup
from typer.main import get_command

from twin_assets.evaluation.measures import MEASURES

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *sorted((ROOT / "deploy" / "docs").glob("*.md")),
    ROOT / "README.md",
    ROOT / "tests" / "bench" / "RESULTS.md",
]
OURS = ("twin_resources", "twin_assets", "twin_sensors", "deploy", "tests", "dbt_like_sql")
CODE = "\n".join(
    path.read_text(encoding="utf-8")
    for folder in ("twin_resources", "twin_assets", "twin_sensors", "deploy")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".sh"}
)
_LINK = re.compile(r"\]\(([^)#\s]+)")
_QUOTED = re.compile(r"`([^`]+)`")
_PYTHON_FILE = re.compile(r"`([\w/]+\.py)`")
_BLOCK = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"[\w./-]+\.(?:py|sh|sql|ya?ml|md|css|js)")
_FOLDER = re.compile(rf"(?:{'|'.join(OURS)})(?:/[\w.-]+)*/?|[a-z_]+/")
_CLASS = re.compile(r"[A-Z][a-z]\w+")
_DOTTED = re.compile(rf"\b(?:{'|'.join((*OURS[:3], 'twin_cli'))})(?:\.\w+)+")
_IMPORTED = re.compile(r"^ *from (twin_[\w.]+) import (?:\(([^)]*)\)|(.+))$", re.MULTILINE)
NO_CLASSES = {"From", "None", "Python", "Tried"}
OF_OTHERS = {"extra-openai-models.yaml"}  # of the client `llm`
# What a reader of contributing.md is to add: a numbered step begins with it.
ADDED = set(
    re.findall(
        r"^\d\. (?:Add )?`([\w/.-]+)`",
        (ROOT / "deploy" / "docs" / "contributing.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_to_files_lead_to_files(path: Path) -> None:
    links = _LINK.findall(path.read_text(encoding="utf-8"))

    broken = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert broken == []


def test_every_picture_is_shown_by_a_page() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    pictures = [
        path.name for path in (ROOT / "deploy/docs").iterdir() if path.suffix in {".png", ".gif"}
    ]

    assert pictures
    assert [name for name in pictures if f"{name})" not in text] == []


def endings(paths: Iterable[Path]) -> set[str]:
    """Every way in which a path below the root may be named: `tables/sync.py`, `sync.py`."""
    parts = [path.relative_to(ROOT).parts for path in paths]
    return {"/".join(part[at:]) for part in parts for at in range(len(part))}


PATHS = [
    path
    for name in OURS
    for path in [ROOT / name, *(ROOT / name).rglob("*")]
    if "__pycache__" not in path.parts
]
FILES = endings([*(path for path in PATHS if path.is_file()), *ROOT.glob("*.*")])
FOLDERS = endings(path for path in PATHS if path.is_dir())


def quoted_words(path: Path) -> set[str]:
    """The words in backticks, outside blocks of code."""
    quotes = _QUOTED.findall(_BLOCK.sub("", path.read_text(encoding="utf-8")))
    return {word for quote in quotes for word in quote.split()}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_and_folders_that_a_document_names_are_there(path: Path) -> None:
    words = quoted_words(path) - ADDED - OF_OTHERS

    assert [word for word in words if _FILE.fullmatch(word) and word not in FILES] == []
    folders = [word.rstrip("/") for word in words if _FOLDER.fullmatch(word)]
    assert [folder for folder in folders if folder not in FOLDERS | FILES] == []


def test_what_a_recipe_adds_is_not_there_yet_and_has_a_folder() -> None:
    assert len(ADDED) >= 6
    assert ADDED.isdisjoint(FILES)
    assert [one for one in ADDED if not (ROOT / one).parent.is_dir()] == []


def test_tests_and_tuples_that_a_recipe_names_are_there() -> None:
    words = quoted_words(ROOT / "deploy" / "docs" / "contributing.md")
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    copied = {word for word in words if re.fullmatch(r"test_\w+", word)}
    filled = {word for word in words if re.fullmatch(r"(?!TWIN_)[A-Z_]{4,}", word)}

    assert copied
    assert [one for one in copied if f"def {one}(" not in tests] == []
    assert filled
    defined = set(re.findall(r"^([A-Z_]{4,})(?:: .*)? = ", f"{CODE}\n{tests}", re.MULTILINE))
    assert filled - defined == set()


def resolves(name: str) -> bool:
    """Whether a dotted name is a package, a module, or a name at the top of one."""
    place = Path(*name.split("."))
    roots = (ROOT, ROOT / "deploy")
    if any((root / place).is_dir() or (root / f"{place}.py").is_file() for root in roots):
        return True
    files = [
        file
        for root in roots
        for file in (root / f"{place.parent}.py", root / place.parent / "__init__.py")
        if file.is_file()
    ]
    return any(place.name in top_names(file) for file in files)


def top_names(path: Path) -> set[str]:
    """What can be imported from a file."""
    found: set[str] = set()
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for node in [*body, *(inner for one in body if isinstance(one, ast.If) for inner in one.body)]:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {name.asname or name.name for name in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {
                one.id
                for target in targets
                for one in ast.walk(target)
                if isinstance(one, ast.Name)
            }
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_modules_and_names_that_a_document_imports_are_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    names = set(_DOTTED.findall(text))
    for module, several, one_line in _IMPORTED.findall(text):
        names |= {
            f"{module}.{part.split()[0]}"
            for part in (several or one_line).split(",")
            if part.strip()
        }

    assert [name for name in sorted(names) if not resolves(name)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_classes_that_a_document_names_are_there(path: Path) -> None:
    known = set(re.findall(r"^class (\w+)", CODE, re.MULTILINE))
    named = {word for word in quoted_words(path) if _CLASS.fullmatch(word)} - NO_CLASSES

    assert [one for one in named - known if not hasattr(dg, one) and not hasattr(pl, one)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_and_variables_that_a_document_names_are_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    commands = set(re.findall(r"`twin ([a-z][\w-]*)", text))
    variables = set(re.findall(r"\bTWIN_[A-Z_]+[A-Z]\b", text))
    tests = "\n".join(one.read_text(encoding="utf-8") for one in (ROOT / "tests").rglob("*.py"))
    documented = (ROOT / "deploy" / "docs" / "settings.md").read_text(encoding="utf-8")

    group = get_command(app)
    assert isinstance(group, TyperGroup)
    assert commands <= set(group.commands)
    assert [
        variable
        for variable in variables
        if f"`{variable}`" not in documented and variable not in tests
    ] == []


def test_the_layers_in_the_architecture_are_those_that_lint_holds() -> None:
    plan = (ROOT / "deploy" / "docs" / "architecture.md").read_text(encoding="utf-8")
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    layers = {
        tuple(one["containers"]): [re.findall(r"\w+", layer) for layer in one["layers"]]
        for one in lint["importlinter"]["contracts"]
        if "containers" in one
    }
    resources, assets = layers["twin_resources",], layers["twin_assets",]

    rows = dict(re.findall(r"^\| (\d) \| (.+) \|$", plan, re.MULTILINE))
    assert len(rows) == len(resources)
    for floor, wings in zip(range(len(resources), 0, -1), resources, strict=True):
        assert set(wings) <= set(_QUOTED.findall(rows[str(floor)])), f"floor {floor}"
    [stages] = re.findall(r"^`twin_assets`, from the top: (.*?)\.$", plan, re.MULTILINE | re.DOTALL)
    assert [_QUOTED.findall(stage) for stage in stages.split(">")] == assets


def test_every_claim_of_the_gate_is_in_its_table() -> None:
    gate = (ROOT / "deploy" / "docs" / "architecture.md").read_text(encoding="utf-8")
    gate = gate.partition("\n## The gate\n")[2].partition("\n## ")[0]
    claims = {claim.name for measure in MEASURES for claim in measure.claims}

    assert set(re.findall(r"^\| `(\w+)` \|", gate, re.MULTILINE)) == claims


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
    source = path.read_text(encoding="utf-8")
    if not _PYTHON_FILE.search(source):
        return []  # most files: they need not be parsed
    tree = ast.parse(source)
    strings = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented)]
    return [name for text in strings if text for name in _PYTHON_FILE.findall(text)]


def test_a_docstring_names_files_that_are_there() -> None:
    folders = ("twin_resources", "twin_assets", "twin_sensors", "deploy", "tests")
    files = [path for name in folders for path in (ROOT / name).rglob("*.py")]
    there = {"/".join(path.parts[-depth:]) for path in files for depth in range(1, 8)}

    missing = [(path.name, name) for path in files for name in named_files(path)]
    assert [(path, name) for path, name in missing if name not in there] == []
