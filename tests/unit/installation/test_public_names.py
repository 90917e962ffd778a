"""Test the public names as an editor sees them, without running the packages."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import twin_assets
import twin_resources
from twin_assets import definitions

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
