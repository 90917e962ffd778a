"""Read the code of the recipes in deploy/docs/contributing.md, as text or as a module.

Scope: reading and importing the code. Out of scope: what it does (the recipe's test).
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

RECIPES = Path(__file__).parents[1] / "deploy/docs/contributing.md"


def read_code_blocks(title: str, language: str) -> list[str]:
    """Return the recipe's code blocks in that language, without the list's indentation."""
    recipe = (
        RECIPES.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    )
    fence_pattern = re.compile(rf"^( *)```{language}\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
    blocks = fence_pattern.findall(recipe)
    assert blocks, f"no {language} code in the recipe {title!r}"
    return [re.sub(f"^{indent}", "", block, flags=re.MULTILINE) for indent, block in blocks]


def import_recipe(title: str, path: Path) -> ModuleType:
    """Write the recipe's first Python block to `path` and import it."""
    path.write_text(read_code_blocks(title, "python")[0], encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
