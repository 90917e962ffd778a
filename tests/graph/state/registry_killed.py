"""Move a version in a process that is killed during the move, without assertions.

    python -m tests.graph.state.registry_killed URL POLICY inside|after

It releases v2 of mara and stops either inside the transaction, when all rows are written, or after
it, before the policy is written. It prints a line and waits to be killed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from twin_resources.registry import registry
from twin_resources.storage.state.state import State

GATE = "gate-1"


def wait_for_kill(*_: Any, **__: Any) -> None:
    sys.stdout.write("here\n")
    sys.stdout.flush()
    time.sleep(600)


def main(url: str, policy: str, where: str) -> None:
    if where == "inside":
        registry.announce = wait_for_kill  # pyright: ignore[reportPrivateImportUsage]
    else:
        registry.Registry.publish = wait_for_kill  # pyright: ignore[reportAttributeAccessIssue]
    opened_registry = registry.Registry(State.open(url), policy_path=Path(policy))
    opened_registry.move("mara", 2, "stable", actor="killed", reason="a test", gate_version=GATE)


if __name__ == "__main__":
    main(*sys.argv[1:])
