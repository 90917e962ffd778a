"""Test that the links, files, classes, commands and messages that the documents name exist."""

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
TOP_FOLDERS = ("twin_resources", "twin_assets", "twin_sensors", "deploy", "tests", "dbt_like_sql")
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
_FOLDER = re.compile(rf"(?:{'|'.join(TOP_FOLDERS)})(?:/[\w.-]+)*/?|[a-z_]+/")
_CLASS = re.compile(r"[A-Z][a-z]\w+")
_DOTTED = re.compile(rf"\b(?:{'|'.join((*TOP_FOLDERS[:3], 'twin_cli'))})(?:\.\w+)+")
_IMPORTED = re.compile(r"^ *from (twin_[\w.]+) import (?:\(([^)]*)\)|(.+))$", re.MULTILINE)
NOT_CLASSES = {"From", "None", "Python", "Tried"}
FOREIGN_FILES = {"extra-openai-models.yaml"}  # a file of the client `llm`
# Files that a reader of contributing.md adds; their numbered steps begin with the name.
FILES_TO_ADD = set(
    re.findall(
        r"^\d\. (?:Add )?`([\w/.-]+)`",
        (ROOT / "deploy" / "docs" / "contributing.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_linked_files_exist(path: Path) -> None:
    links = _LINK.findall(path.read_text(encoding="utf-8"))

    broken = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert broken == []


def test_every_picture_is_on_a_page() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    pictures = [
        path.name for path in (ROOT / "deploy/docs").iterdir() if path.suffix in {".png", ".gif"}
    ]

    assert pictures
    assert [name for name in pictures if f"{name})" not in text] == []


def path_suffixes(paths: Iterable[Path]) -> set[str]:
    """Return every suffix of each path below the root, such as `tables/sync.py` and `sync.py`."""
    parts = [path.relative_to(ROOT).parts for path in paths]
    return {"/".join(part[start:]) for part in parts for start in range(len(part))}


PATHS = [
    path
    for name in TOP_FOLDERS
    for path in [ROOT / name, *(ROOT / name).rglob("*")]
    if "__pycache__" not in path.parts
]
FILES = path_suffixes([*(path for path in PATHS if path.is_file()), *ROOT.glob("*.*")])
FOLDERS = path_suffixes(path for path in PATHS if path.is_dir())


def quoted_words(path: Path) -> set[str]:
    """Return a document's words in backticks, except in code blocks."""
    quotes = _QUOTED.findall(_BLOCK.sub("", path.read_text(encoding="utf-8")))
    return {word for quote in quotes for word in quote.split()}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_and_folders_exist(path: Path) -> None:
    words = quoted_words(path) - FILES_TO_ADD - FOREIGN_FILES

    assert [word for word in words if _FILE.fullmatch(word) and word not in FILES] == []
    folders = [word.rstrip("/") for word in words if _FOLDER.fullmatch(word)]
    assert [folder for folder in folders if folder not in FOLDERS | FILES] == []


def test_files_that_a_recipe_adds_do_not_exist_but_their_folders_do() -> None:
    assert len(FILES_TO_ADD) >= 6
    assert FILES_TO_ADD.isdisjoint(FILES)
    assert [name for name in FILES_TO_ADD if not (ROOT / name).parent.is_dir()] == []


def test_tests_and_tuples_named_by_a_recipe_exist() -> None:
    words = quoted_words(ROOT / "deploy" / "docs" / "contributing.md")
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    test_names = {word for word in words if re.fullmatch(r"test_\w+", word)}
    tuple_names = {word for word in words if re.fullmatch(r"(?!TWIN_)[A-Z_]{4,}", word)}

    assert test_names
    assert [name for name in test_names if f"def {name}(" not in tests] == []
    assert tuple_names
    defined = set(re.findall(r"^([A-Z_]{4,})(?:: .*)? = ", f"{CODE}\n{tests}", re.MULTILINE))
    assert tuple_names - defined == set()


def resolves(name: str) -> bool:
    """Return whether a dotted name is a package, a module or a top-level name of a module."""
    path = Path(*name.split("."))
    roots = (ROOT, ROOT / "deploy")
    if any((root / path).is_dir() or (root / f"{path}.py").is_file() for root in roots):
        return True
    files = [
        file
        for root in roots
        for file in (root / f"{path.parent}.py", root / path.parent / "__init__.py")
        if file.is_file()
    ]
    return any(path.name in names_defined_in(file) for file in files)


def names_defined_in(path: Path) -> set[str]:
    """Return the names that can be imported from a file."""
    defined: set[str] = set()
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for node in [*body, *(sub for part in body if isinstance(part, ast.If) for sub in part.body)]:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            defined.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            defined |= {name.asname or name.name for name in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined |= {
                child.id
                for target in targets
                for child in ast.walk(target)
                if isinstance(child, ast.Name)
            }
    return defined


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_imported_modules_and_names_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    names = set(_DOTTED.findall(text))
    for module, in_parentheses, one_line in _IMPORTED.findall(text):
        names |= {
            f"{module}.{part.split()[0]}"
            for part in (in_parentheses or one_line).split(",")
            if part.strip()
        }

    assert [name for name in sorted(names) if not resolves(name)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_named_classes_exist(path: Path) -> None:
    known = set(re.findall(r"^class (\w+)", CODE, re.MULTILINE))
    named = {word for word in quoted_words(path) if _CLASS.fullmatch(word)} - NOT_CLASSES

    assert [name for name in named - known if not hasattr(dg, name) and not hasattr(pl, name)] == []


@pytest.mark.parametrize(
    "path",
    [path for path in DOCUMENTS if path.name != "changelog.md"],  # it names what was removed
    ids=lambda path: path.name,
)
def test_named_commands_and_variables_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    commands = set(re.findall(r"`twin ([a-z][\w-]*)", text))
    variables = set(re.findall(r"\bTWIN_[A-Z_]+[A-Z]\b", text))
    tests = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("*.py"))
    documented = (ROOT / "deploy" / "docs" / "settings.md").read_text(encoding="utf-8")

    group = get_command(app)
    assert isinstance(group, TyperGroup)
    assert commands <= set(group.commands)
    assert [
        variable
        for variable in variables
        if f"`{variable}`" not in documented and variable not in tests
    ] == []


def test_the_layers_in_the_architecture_match_the_lint_contracts() -> None:
    page = (ROOT / "deploy" / "docs" / "architecture.md").read_text(encoding="utf-8")
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    layers = {
        tuple(contract["containers"]): [re.findall(r"\w+", layer) for layer in contract["layers"]]
        for contract in lint["importlinter"]["contracts"]
        if "containers" in contract
    }
    resources, assets = layers["twin_resources",], layers["twin_assets",]

    rows = dict(re.findall(r"^\| (\d) \| (.+) \|$", page, re.MULTILINE))
    assert len(rows) == len(resources)
    for number, packages in zip(range(len(resources), 0, -1), resources, strict=True):
        assert set(packages) <= set(_QUOTED.findall(rows[str(number)])), f"layer {number}"
    [stages] = re.findall(r"^`twin_assets`, from the top: (.*?)\.$", page, re.MULTILINE | re.DOTALL)
    assert [_QUOTED.findall(stage) for stage in stages.split(">")] == assets


def test_the_gate_table_lists_every_claim() -> None:
    gate = (ROOT / "deploy" / "docs" / "architecture.md").read_text(encoding="utf-8")
    gate = gate.partition("\n## The gate\n")[2].partition("\n## ")[0]
    claims = {claim.name for measure in MEASURES for claim in measure.claims}

    assert set(re.findall(r"^\| `(\w+)` \|", gate, re.MULTILINE)) == claims


def test_messages_in_troubleshooting_exist_in_the_code() -> None:
    text = (ROOT / "deploy" / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    # The code splits long messages over lines and has values in braces.
    messages = re.sub(r'"\s*\n\s*f?"', "", CODE).replace("`", "").replace("\\", "")
    missing: list[str] = []
    for row in text.splitlines():
        symptom = row.split("|")[1] if row.startswith("| ") else ""
        for quoted in _QUOTED.findall(symptom):
            parts = [part.strip(" ():") for part in re.split("…|NAME", quoted)]
            missing += [part for part in parts if len(part) > 3 and part not in messages]

    assert missing == []


def named_files(path: Path) -> list[str]:
    """Return the Python files named in the docstrings of a file."""
    node_types = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    source = path.read_text(encoding="utf-8")
    if not _PYTHON_FILE.search(source):
        return []  # true of most files, which then need no parsing
    tree = ast.parse(source)
    strings = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, node_types)]
    return [name for text in strings if text for name in _PYTHON_FILE.findall(text)]


def test_files_named_in_docstrings_exist() -> None:
    folders = ("twin_resources", "twin_assets", "twin_sensors", "deploy", "tests")
    files = [path for name in folders for path in (ROOT / name).rglob("*.py")]
    existing = {"/".join(path.parts[-depth:]) for path in files for depth in range(1, 8)}

    assert [
        (path.name, name) for path in files for name in named_files(path) if name not in existing
    ] == []
