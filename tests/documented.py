"""What deploy/docs/json.md says of each command's JSON, for tests of the commands.

Scope: reading the examples there. Out of scope: what a command prints.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tests.conftest import ROOT

PAGE = ROOT / "deploy" / "docs" / "json.md"


def documented(command: str) -> dict[str, Any]:
    """The example under the heading that begins with `twin <command>`."""
    pattern = rf"^## `twin {re.escape(command)}[^`]*`\n\n```json\n(.*?)^```$"
    found = re.search(pattern, PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None, f"{PAGE} has no JSON of `twin {command}`"
    return json.loads(found[1])


def shape(value: Any) -> Any:
    """Keys of objects, and of the first object in a list; every other value is left out."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in sorted(value.items())}
    if isinstance(value, list):
        return [shape(value[0])] if value and isinstance(value[0], dict) else []
    return None
