"""The code of a recipe of deploy/docs/contributing.md, as a module.

Belongs here: finding and loading it. Does not belong here: what a recipe is to do (its test).
"""

from __future__ import annotations

import importlib.util
import re
import textwrap
from pathlib import Path
from types import ModuleType

RECIPES = Path(__file__).parents[1] / "deploy/docs/contributing.md"


def of_recipe(title: str, path: Path) -> ModuleType:
    """The first code of the recipe, written to a file and imported from there."""
    recipe = (
        RECIPES.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    )
    code = re.search(r"^ *```python\n(.*?)^ *```$", recipe, re.MULTILINE | re.DOTALL)
    assert code is not None, f"no code in the recipe {title!r}"
    path.write_text(textwrap.dedent(code[1]), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found
