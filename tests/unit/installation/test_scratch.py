"""Temporary files of tests lie in memory only where there is room for them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests import scratch


def test_a_folder_is_fit_when_it_takes_what_is_needed(tmp_path: Path) -> None:
    if not scratch.available_memory():
        pytest.skip("no /proc on this machine")
    assert scratch.is_fit(tmp_path, needed=1 << 20)
    assert not scratch.is_fit(tmp_path, needed=1 << 60)
    assert not scratch.is_fit(tmp_path / "absent", needed=0)


def test_available_memory_is_read_in_bytes(tmp_path: Path) -> None:
    told = tmp_path / "meminfo"
    told.write_text("MemTotal:  100 kB\nMemAvailable:       42 kB\n")
    assert scratch.available_memory(told) == 42 * 1024
    told.write_text("MemTotal:  100 kB\n")
    assert scratch.available_memory(told) == 0
    assert scratch.available_memory(tmp_path / "absent") == 0


@pytest.mark.parametrize(("fit", "named"), [(True, ""), (True, "/elsewhere"), (False, "")])
def test_who_set_tmpdir_is_obeyed(
    fit: bool, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/as-it-was")
    monkeypatch.setattr(scratch, "MEMORY", tmp_path)
    monkeypatch.setattr(scratch, "is_fit", lambda folder: fit)
    monkeypatch.setenv("PYTEST_DEBUG_TEMPROOT", "/as-it-was")
    monkeypatch.setenv("TMPDIR", named)
    if not named:
        monkeypatch.delenv("TMPDIR")
    scratch.keep_in_memory()
    if fit and not named:
        [made] = tmp_path.iterdir()
        assert os.environ["TMPDIR"] == tempfile.tempdir == str(made)
        assert os.environ["PYTEST_DEBUG_TEMPROOT"] == str(tmp_path)
    else:
        assert os.environ.get("TMPDIR", "") == named
        assert tempfile.tempdir == "/as-it-was"
        assert not list(tmp_path.iterdir())
