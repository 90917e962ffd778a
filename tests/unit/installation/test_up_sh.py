"""Test the responses of up.sh and check.sh before anything is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Create a checkout without an environment, in a folder with a space in its name."""
    folder = tmp_path / "a checkout"
    for name in ("deploy", "twin_resources"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


def run_script(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    completed = subprocess.run(
        ["bash", *arguments], capture_output=True, text=True, cwd=checkout, timeout=60, check=False
    )
    assert not (checkout / ".venv").exists()
    return completed


@pytest.mark.parametrize(
    ("script", "option"), [("up.sh", "--no-auto-retrain"), ("check.sh", "--long")]
)
def test_help_is_printed_without_an_installation(checkout: Path, script: str, option: str) -> None:
    completed = run_script(checkout, f"deploy/{script}", "--help")
    assert (completed.returncode, completed.stderr) == (0, "")
    assert option in completed.stdout
    assert "GB of memory" not in completed.stdout  # the preflight did not run


def test_a_missing_folder_is_refused(checkout: Path) -> None:
    completed = run_script(checkout, "deploy/up.sh", "no/such/folder", "--author", "Ada")
    assert completed.returncode == 1
    message = "Cannot continue. posts: there is no such file or folder: no/such/folder"
    assert message in completed.stdout
