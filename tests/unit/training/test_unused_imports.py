"""A rank imports nothing that it never uses, and what was imported before stays."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import importlib.util, sys
import {first}
from twin_assets.training.ranks import UNUSED, leave_out_unused
leave_out_unused()
print(*(name for name in UNUSED if name in sys.modules and sys.modules[name] is None))
print({first}.__name__)
try:
    import mlflow
except ModuleNotFoundError as error:
    print(error.name)
"""


def left_out(*, first: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(first=first)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_a_rank_takes_what_it_never_uses_for_not_installed() -> None:
    assert left_out(first="json") == ["mlflow", "scipy", "json", "mlflow"]


def test_what_was_imported_before_stays() -> None:
    assert left_out(first="scipy") == ["mlflow", "scipy", "mlflow"]
