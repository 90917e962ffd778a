"""Test that `deploy/docs/settings.md` lists every variable and setting, and is up to date."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout.settings_document import DOCUMENT, NOT_SETTINGS, environment_variable, render_document

from tests.recipes import read_code_blocks
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.settings import CONSTANTS, Settings

ROOT = Path(__file__).parents[2]


def test_the_document_is_up_to_date() -> None:
    written = DOCUMENT.read_text(encoding="utf-8")

    assert written == render_document(), "run `python deploy/checkout/settings_document.py`"


def test_every_variable_and_setting_has_a_row() -> None:
    rows = set(re.findall(r"^\| `([^`]+)` \|", render_document(), re.MULTILINE))

    assert {environment_variable(name) for name in Settings.model_fields.keys() - CONSTANTS} <= rows
    assert set(Author.__dataclass_fields__) - {"slug", "extra"} <= rows


def test_every_variable_in_the_code_is_in_the_document() -> None:
    used: set[str] = set()
    for folder in ("twin_assets", "twin_resources", "twin_sensors"):
        for path in (ROOT / folder).rglob("*.py"):
            used |= set(re.findall(r"\bTWIN_[A-Z][A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8")))
    known = {environment_variable(name) for name in Settings.model_fields}
    known |= {*NOT_SETTINGS}

    assert used - known == set()


def test_a_setting_without_a_description_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checkout.settings_document.parse_field_comments", lambda *_: {})

    with pytest.raises(TwinError, match="describe the setting home"):
        render_document()


def test_the_recipe_for_a_setting_adds_one(tmp_path: Path) -> None:
    """Add the lines from deploy/docs/contributing.md to a copy, which a new process reads."""
    for folder in ("twin_resources", "deploy/checkout"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    (tmp_path / "deploy/docs").mkdir()
    settings_path = tmp_path / "twin_resources/settings.py"
    text = settings_path.read_text(encoding="utf-8")
    before = '    notify: str = ""'
    assert text.count(before) == 1
    [lines] = read_code_blocks("A setting", "python")
    settings_path.write_text(text.replace(before, lines + before), encoding="utf-8")

    run_python(tmp_path, "deploy/checkout/settings_document.py")
    page = (tmp_path / "deploy/docs/settings.md").read_text(encoding="utf-8")
    row = (
        "| `TWIN_NOTICES_KEPT_HOURS` | `72.0` | number | "
        "Hours to keep retrying a notice that no address has accepted |\n"
    )
    assert page.replace(row, "") == render_document()
    assert row in page
    read = "from twin_resources.settings import load_settings as s; print(s().notices_kept_hours)"
    assert run_python(tmp_path, "-c", read).stdout == "72.0\n"
    assert run_python(tmp_path, "-c", read, TWIN_NOTICES_KEPT_HOURS="6").stdout == "6.0\n"
    failed = run_python(tmp_path, "-c", read, status=1, TWIN_NOTICES_KEPT_HOURS="0")
    assert "notices_kept_hours" in failed.stderr


def run_python(
    folder: Path, *arguments: str, status: int = 0, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with the packages in `folder`; it must exit with this status."""
    completed = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": str(folder)} | variables, check=False,
    )  # fmt: skip
    assert completed.returncode == status, completed.stderr
    return completed
