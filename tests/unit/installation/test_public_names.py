"""Test the public names as an editor sees them, without running the packages."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import twin_assets
import twin_resources
from twin_assets import definitions

BASEDPYRIGHT = Path(sys.executable).with_name("basedpyright")
PACKAGES = (twin_assets, twin_resources)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_listed_names_are_visible_to_analyzers_and_exist(package: object) -> None:
    source = Path(str(package.__file__)).read_text()  # type: ignore[attr-defined]
    imported_names = {
        alias.asname or alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    public_names = package.__all__  # type: ignore[attr-defined]
    assert imported_names == set(public_names) == set(package._MODULES)  # type: ignore[attr-defined]
    assert set(public_names) <= set(dir(package))
    for name in public_names:
        assert getattr(package, name) is not None


def test_every_asset_of_the_graph_has_a_public_name() -> None:
    keys = {
        name
        for module in definitions.ASSET_MODULES
        for name in dir(module)
        if type(getattr(module, name)).__name__ == "AssetsDefinition"
    }
    assert keys <= set(twin_assets.__all__), (
        "a name is missing in one of three places in twin_assets/__init__.py"
    )


@pytest.mark.long
@pytest.mark.skipif(not BASEDPYRIGHT.exists(), reason="basedpyright absent")
def test_an_analyzer_infers_the_types_and_reports_a_misspelling(tmp_path: Path) -> None:
    names = [f"{package.__name__}.{name}" for package in PACKAGES for name in package.__all__]
    imports = [f"from {name.rpartition('.')[0]} import {name.rpartition('.')[2]}" for name in names]
    reveals = [f"reveal_type({name.rpartition('.')[2]})" for name in names]
    typos = ["from twin_assets import raw_postz", "from twin_resources import TableResource"]
    script = tmp_path / "uses.py"
    script.write_text("\n".join([*imports, *typos, *reveals]) + "\n")
    config = tmp_path / "pyrightconfig.json"
    root = Path(twin_assets.__file__).parents[1]
    config.write_text(json.dumps({"include": ["uses.py"], "extraPaths": [str(root)],
                                  "typeCheckingMode": "standard"}))  # fmt: skip
    completed = subprocess.run(
        [str(BASEDPYRIGHT), "--outputjson", "--pythonpath", sys.executable, "-p", str(config)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    diagnostics = json.loads(completed.stdout)["generalDiagnostics"]
    errors = [row["message"] for row in diagnostics if row["severity"] == "error"]
    assert len(errors) == 2, errors
    assert '"raw_postz" is unknown import symbol' in errors[0]
    assert '"TableResource" is unknown import symbol' in errors[1]
    revealed_types = {
        row["range"]["start"]["line"]: row["message"]
        for row in diagnostics
        if row["severity"] == "information"
    }
    assert len(revealed_types) == len(names)
    untyped = [text for text in revealed_types.values() if '"Any"' in text or '"Unknown"' in text]
    assert untyped == []
    assert sum('"AssetsDefinition"' in text for text in revealed_types.values()) >= 14
