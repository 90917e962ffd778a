"""Test the recipe "A measure of the gate" of deploy/docs/contributing.md in a copy of the code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.recipes import import_recipe

ROOT = Path(__file__).parents[3]


@pytest.mark.long
def test_an_added_measure_decides_and_is_reported(tmp_path: Path) -> None:
    follow_the_recipe(tmp_path / "with")

    good, bad = run_process(tmp_path / "with")

    claim = "answers_in_sentences"
    assert (good["claims"][claim], bad["claims"][claim]) == (True, False)
    assert (good["checks"][claim], bad["checks"][claim]) == (True, False)
    assert f"| `{claim}` | yes | 4 of 4" in good["report"]
    assert f"| `{claim}` | no | 0 of 4" in bad["report"]
    assert (good["metadata"][claim], bad["metadata"][claim]) == (1.0, 0.0)
    assert "not decided: no topic judge" in good["report"]


def copy_assets(folder: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "twin_assets", folder / "twin_assets", ignore=ignored)
    return folder / "twin_assets" / "evaluation" / "measures"


def follow_the_recipe(folder: Path) -> None:
    """Add the measure's file, and the measure to the package's tuple."""
    measures = copy_assets(folder)
    import_recipe("A measure of the gate", measures / "whole_sentences.py")
    module = measures / "__init__.py"
    text = module.read_text(encoding="utf-8")
    for old in ("    served_parity,\n", "    front_desk.MEASURE,\n"):
        assert old in text
    text = text.replace("    served_parity,\n", "    served_parity,\n    whole_sentences,\n")
    line = "    front_desk.MEASURE,\n"
    module.write_text(text.replace(line, f"    whole_sentences.MEASURE,\n{line}"), "utf-8")


def run_process(folder: Path) -> list[dict[str, Any]]:
    """Return the output of a process that imports the assets of `folder`."""
    python_path = os.pathsep.join([str(folder), str(ROOT)])
    process = subprocess.run(
        [sys.executable, "-m", "tests.graph.evaluation.added_measure", str(folder)],
        cwd=folder, env=os.environ | {"PYTHONPATH": python_path}, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    if process.returncode:
        pytest.fail(process.stderr[-3000:])
    return json.loads(process.stdout.splitlines()[-1])
