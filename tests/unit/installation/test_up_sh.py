"""What up.sh and check.sh answer or refuse before anything is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone as it is before the first start, in a folder with a space; without an environment."""
    folder = tmp_path / "a checkout"
    for name in ("deploy", "twin_resources"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


def ran(checkout: Path, *line: str) -> subprocess.CompletedProcess[str]:
    run = subprocess.run(
        ["bash", *line], capture_output=True, text=True, cwd=checkout, timeout=60, check=False
    )
    assert not (checkout / ".venv").exists()
    return run


@pytest.mark.parametrize(
    ("script", "option"), [("up.sh", "--no-auto-retrain"), ("check.sh", "--no-live")]
)
def test_help_answers_and_ends(checkout: Path, script: str, option: str) -> None:
    run = ran(checkout, f"deploy/{script}", "--help")
    assert (run.returncode, run.stderr) == (0, "")
    assert option in run.stdout
    assert "memory" not in run.stdout  # the preflight has not been asked


def test_a_folder_that_is_not_there_is_refused(checkout: Path) -> None:
    run = ran(checkout, "deploy/up.sh", "no/such/folder", "--author", "Ada")
    assert run.returncode == 1
    assert "Cannot go on. posts: there is no such file or folder: no/such/folder" in run.stdout
