"""Live tests: one folder of process logs a test, and which tests belong to one worker.

Scope: that folder, what a failed live test says, what runs beside what.
Out of scope: the processes.

Each runs beside others, on cores that are at work: it waits for what it looks at, and holds a time
against another one of the same minute.
TWIN_TEST_LOGS names the folder that keeps the logs of a run; default: a fresh one, kept, under the
system's temporary folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.scratch import ON_DISK
from twin_resources.models.training_launcher import machine

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

LIVE = Path(__file__).parent
ONE_WORKER = ("whole", "evaluation", "chat", "chaos", "newcomer", "serving", "gateway")
"""Folders whose tests share what takes long to make (a stack, a trained checkpoint); of others a
worker takes a file."""

OWN_STACK = ("gateway/test_gateway_paid.py", "gateway/test_gateway_routes_by_cost.py")
"""Files of such a folder that start a stack of their own, and so are a worker's by themselves."""

LONGEST_FIRST = (
    "whole",
    "newcomer",
    "chaos",
    "dagster_pages",
    "gateway",
    "evaluation",
    "training",
    "erasure",
    "serving",
)
"""A file of a minute that is begun last would leave the other worker with nothing to do."""

_LOGS = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    named = os.environ.get("TWIN_TEST_LOGS")
    folder = Path(named) if named else Path(tempfile.mkdtemp(prefix="twin-live-logs-", dir=ON_DISK))
    folder.mkdir(parents=True, exist_ok=True)
    config.stash[_LOGS] = folder.resolve()


def group_of(path: Path) -> str:
    """What a live test's file is run together with, on one worker."""
    if not path.is_relative_to(LIVE):
        return str(path)  # asked for beside live tests
    inside = path.relative_to(LIVE)
    together = inside.parts[0] in ONE_WORKER and inside.as_posix() not in OWN_STACK
    return inside.parts[0] if together else str(inside)


def _turn(item: pytest.Item) -> int:
    folder = item.path.relative_to(LIVE).parts[0] if item.path.is_relative_to(LIVE) else ""
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tell the workers of `twin check` which live tests belong together.

    The marker `xdist_group` is for this, and does nothing with pytest 9.2 and pytest-xdist 3.8:
    the name is written to an attribute that pytest does not read any more.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(config.rootpath / nodeid.split("::", maxsplit=1)[0])

        def _assign_work_unit(self, node: WorkerController) -> None:
            """As it is; what is put behind a group before its first test has run comes from the
            end: a worker runs a test once it knows of another, and behind the demo loop (half an
            hour) the next longest group would wait while the other workers have nothing to do."""
            units = self.assigned_work[node].values()
            waits = any(not done for unit in units for done in unit.values())
            if waits and not any(done for unit in units for done in unit.values()):
                self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
            super()._assign_work_unit(node)

    return ByGroup(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes long, where two workers share the tests."""
    if hasattr(config, "workerinput"):
        items.sort(key=_turn)


def pytest_unconfigure(config: pytest.Config) -> None:
    # With logs in it, it stays; another worker may have removed one that was named for both.
    with contextlib.suppress(OSError):
        config.stash[_LOGS].rmdir()


def _folder_of(item: pytest.Item) -> Path:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", item.nodeid.removeprefix("tests/live/"))
    return item.config.stash[_LOGS] / name[:120].strip("-")


@pytest.fixture
def process_logs(request: pytest.FixtureRequest) -> Path:
    """Where this test's processes write their logs; named when the test fails, kept afterwards."""
    folder = _folder_of(request.node)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def trainings_at_equal_priority() -> Iterator[None]:
    """A training gives way to readers, and with it would the test that waits for it to those of
    all other workers (`tests/unit/training/test_training_launcher.py` holds that it does)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "NICENESS", 0)
        yield


def _end_of(log: Path, length: int = 3000) -> str:
    """The last lines of a log: where the tests ran on another machine, nothing else is left."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - length))
        text = stream.read().decode("utf-8", "replace")
    return textwrap.indent(text, "    | ")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    report = yield
    if report.failed:
        folder = _folder_of(item)
        logs = (
            sorted(path for path in folder.rglob("*") if path.is_file()) if folder.exists() else []
        )
        listed = "\n".join(
            f"  {path} ({path.stat().st_size} bytes)\n{_end_of(path)}" for path in logs
        )
        report.sections.append(("process logs", f"{folder}\n{listed or '  no log was written'}"))
    return report
