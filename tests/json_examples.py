"""The JSON examples of deploy/docs/json.md, for tests of the commands.

Scope: reading the examples. Out of scope: running a command.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tests.conftest import ROOT

PAGE = ROOT / "deploy" / "docs" / "json.md"


def read_json_example(command: str) -> dict[str, Any]:
    """Return the example under the heading that begins with `twin <command>`."""
    pattern = rf"^## `twin {re.escape(command)}[^`]*`\n\n```json\n(.*?)^```$"
    match = re.search(pattern, PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert match is not None, f"{PAGE} has no JSON example of `twin {command}`"
    return json.loads(match[1])


def shape(value: Any) -> Any:
    """Return the keys of objects, and of the first object in a list, without their values."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in sorted(value.items())}
    if isinstance(value, list):
        return [shape(value[0])] if value and isinstance(value[0], dict) else []
    return None
