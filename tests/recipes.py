"""The code of a recipe of deploy/docs/contributing.md: as text, as a module.

Scope: finding and loading it. Out of scope: what a recipe is to do (its test).
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

RECIPES = Path(__file__).parents[1] / "deploy/docs/contributing.md"


def code_of(title: str, language: str) -> list[str]:
    """The recipe's code in that language, block by block, without the indentation of a list."""
    recipe = (
        RECIPES.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    )
    fenced = re.compile(rf"^( *)```{language}\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
    blocks = fenced.findall(recipe)
    assert blocks, f"no {language} in the recipe {title!r}"
    return [re.sub(f"^{indent}", "", block, flags=re.MULTILINE) for indent, block in blocks]


def of_recipe(title: str, path: Path) -> ModuleType:
    """The first Python of the recipe, written to a file and imported from there."""
    path.write_text(code_of(title, "python")[0], encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found
