"""Concurrent writes to one file: every write succeeds, and no reader sees a partial file."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from twin_resources.atomic_writes import replace_file

WRITERS, TIMES = 4, 100
WRITE = f"""
import json, sys
from pathlib import Path
from twin_resources.atomic_writes import replace_file
for number in range({TIMES}):
    replace_file(Path(sys.argv[1]), json.dumps({{"writer": sys.argv[2], "rest": "x" * number}}))
"""


def test_four_processes_write_one_file_a_hundred_times_each(tmp_path: Path) -> None:
    path = tmp_path / "shared" / "servers.json"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, str(path), str(number)])
        for number in range(WRITERS)
    ]
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            assert json.loads(path.read_text()).keys() == {"writer", "rest"}
    assert [writer.returncode for writer in writers] == [0] * WRITERS
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_failed_write_leaves_only_the_old_file(tmp_path: Path) -> None:
    path = replace_file(tmp_path / "a.json", "old")
    with pytest.raises(UnicodeEncodeError):
        replace_file(path, "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
