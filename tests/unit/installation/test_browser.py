"""Test that deploy/browser.sh finds or installs a browser, or explains how to install one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NEEDS_ROOT = pytest.mark.skipif(
    os.geteuid() != 0, reason="no account: root alone installs packages"
)
Run = Callable[..., "subprocess.CompletedProcess[str]"]
APT_GET_SCRIPT = 'echo "$@" >> "$CALLS"'


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a function that runs the script with only `id` and `programs` on its PATH."""
    (tmp_path / "id").symlink_to(str(shutil.which("id")))

    def run_script(*arguments: str, **programs: str) -> subprocess.CompletedProcess[str]:
        for name, body in programs.items():
            path = tmp_path / name.replace("_", "-")
            path.write_text(f"#!/bin/sh\n{body}\n")
            path.chmod(0o755)
        return subprocess.run(
            [str(shutil.which("bash")), str(ROOT / "deploy" / "browser.sh"), *arguments],
            env={"PATH": str(tmp_path), "CALLS": str(tmp_path / "calls")},
            capture_output=True,
            text=True,
            check=False,
        )

    return run_script


def test_an_existing_browser_is_used(run: Run, tmp_path: Path) -> None:
    process = run(chromium_browser="exit 0", apt_get=APT_GET_SCRIPT)

    assert (process.returncode, process.stdout) == (0, "")
    assert not (tmp_path / "calls").exists()


@NEEDS_ROOT
def test_root_installs_a_browser(run: Run, tmp_path: Path) -> None:
    process = run(apt_get=APT_GET_SCRIPT)

    assert process.returncode == 0, process.stderr
    assert (tmp_path / "calls").read_text().splitlines() == [
        "--quiet=2 update",
        "--quiet=2 install --yes --no-install-recommends chromium",
    ]


def test_a_missing_installer_is_an_error_with_advice(run: Run) -> None:
    process = run()

    assert process.returncode == 1
    assert "sudo apt-get install chromium" in process.stderr
