"""Test that concurrent writes to one file succeed and that no reader sees a partial file."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from twin_resources.atomic_writes import replace_file

WRITER_COUNT, WRITE_COUNT = 4, 100
WRITER_SCRIPT = f"""
import json, sys
from pathlib import Path
from twin_resources.atomic_writes import replace_file
for number in range({WRITE_COUNT}):
    replace_file(Path(sys.argv[1]), json.dumps({{"writer": sys.argv[2], "rest": "x" * number}}))
"""


def test_a_reader_sees_only_complete_files_while_four_processes_write(tmp_path: Path) -> None:
    path = tmp_path / "shared" / "servers.json"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER_SCRIPT, str(path), str(number)])
        for number in range(WRITER_COUNT)
    ]
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            assert json.loads(path.read_text()).keys() == {"writer", "rest"}
    assert [writer.returncode for writer in writers] == [0] * WRITER_COUNT
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_failed_write_leaves_only_the_old_file(tmp_path: Path) -> None:
    path = replace_file(tmp_path / "a.json", "old")
    with pytest.raises(UnicodeEncodeError):
        replace_file(path, "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    link = tmp_path / "policy.json"
    link.symlink_to(tmp_path / "shared" / "policy.json")
    for content in ("old", "new"):
        replace_file(link, content)
        assert link.is_symlink()
        assert (tmp_path / "shared" / "policy.json").read_text() == content
    assert len(list(tmp_path.rglob("*.partial"))) == 0
