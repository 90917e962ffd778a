"""Test that `twin up` without a usable post exits with 3, names the files and starts nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from twin_resources.processes.wording import format_count
from twin_resources.settings import Settings


@pytest.mark.long
@pytest.mark.parametrize("command", [("import", "--dry-run"), ("up", "--no-train")])
def test_no_usable_post_is_exit_code_3(
    command: tuple[str, ...], home: Settings, tmp_path: Path
) -> None:
    posts = tmp_path / "posts"
    posts.mkdir()
    (posts / "a.md").write_text("Too short.")
    (posts / "b.md").write_bytes(b"\xff\xfe\x00")
    name, *options = command
    completed = subprocess.run(
        [sys.executable, "-m", "twin_cli", name, str(posts), "--author", "Ada", *options],
        capture_output=True,
        text=True,
        env=os.environ | {"TWIN_HOME": str(home.home)},
        timeout=120,
        check=False,
    )
    assert completed.returncode == 3, completed.stdout + completed.stderr
    assert "2 posts found, 0 usable" in completed.stdout
    assert "dropped 1: not utf8 (b.md); save it as UTF-8" in completed.stdout
    assert "[3/6]" not in completed.stdout
    assert not (home.home / "authors").exists()


def test_counts_are_formatted_in_the_singular_or_plural() -> None:
    counts = [format_count(number, "post") for number in (0, 1, 1200)]
    assert counts == ["0 posts", "1 post", "1,200 posts"]
    assert format_count(2, "process", "processes") == "2 processes"
