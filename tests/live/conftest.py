"""Live tests: one folder of process logs a test, named in its failure.

Belongs here: that folder and what a failed live test says. Does not belong here: the processes.
TWIN_TEST_LOGS names the folder that keeps the logs of a run; default: a fresh one, kept, under the
system's temporary folder.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scratch import ON_DISK

_LOGS = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    named = os.environ.get("TWIN_TEST_LOGS")
    folder = Path(named) if named else Path(tempfile.mkdtemp(prefix="twin-live-logs-", dir=ON_DISK))
    folder.mkdir(parents=True, exist_ok=True)
    config.stash[_LOGS] = folder.resolve()


def pytest_unconfigure(config: pytest.Config) -> None:
    folder = config.stash[_LOGS]
    if not any(folder.iterdir()):
        folder.rmdir()


def _folder_of(item: pytest.Item) -> Path:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", item.nodeid.removeprefix("tests/live/"))
    return item.config.stash[_LOGS] / name[:120].strip("-")


@pytest.fixture
def process_logs(request: pytest.FixtureRequest) -> Path:
    """Where this test's processes write their logs; named when the test fails, kept afterwards."""
    folder = _folder_of(request.node)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    report = yield
    if report.failed:
        folder = _folder_of(item)
        logs = (
            sorted(path for path in folder.rglob("*") if path.is_file()) if folder.exists() else []
        )
        listed = "\n".join(f"  {path} ({path.stat().st_size} bytes)" for path in logs)
        report.sections.append(("process logs", f"{folder}\n{listed or '  no log was written'}"))
    return report
