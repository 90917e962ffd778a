"""Keep the process logs of each live test in a folder, and distribute the tests to workers.

Scope: that folder, the report of a failed live test, the order and grouping of the tests.
Out of scope: the processes under test.

Live tests run in parallel on busy cores. Therefore a test waits for a state instead of a time, and
compares a duration only with another one measured within the same minute.
TWIN_TEST_LOGS names the folder for the logs of a run. The default is a new folder under the
system's temporary folder, which is kept.
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

from tests.scratch import DISK_TEMP
from twin_resources.models.training_launcher import rank_processes

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

LIVE = Path(__file__).parent
ONE_WORKER = ("whole", "evaluation", "chat", "chaos", "newcomer", "serving", "gateway")
"""Folders whose tests share a slow fixture (a stack, a trained checkpoint) and run on one worker.
In other folders each file may run on another worker.
"""

SEPARATE_STACK = ("gateway/test_gateway_paid.py", "gateway/test_gateway_routes_by_cost.py")
"""Files in these folders that start their own stack and may run on another worker."""

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
"""Folders with the longest tests, which start first so that no worker is idle at the end."""

_LOGS = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    logs = os.environ.get("TWIN_TEST_LOGS")
    folder = Path(logs) if logs else Path(tempfile.mkdtemp(prefix="twin-live-logs-", dir=DISK_TEMP))
    folder.mkdir(parents=True, exist_ok=True)
    config.stash[_LOGS] = folder.resolve()


def worker_group(path: Path) -> str:
    """Return the name of the group of test files that run on the same worker as this file."""
    if not path.is_relative_to(LIVE):
        return str(path)  # not a live test
    file = path.relative_to(LIVE)
    shares_worker = file.parts[0] in ONE_WORKER and file.as_posix() not in SEPARATE_STACK
    return file.parts[0] if shares_worker else str(file)


def _position(item: pytest.Item) -> int:
    """Return the item's position in `LONGEST_FIRST`."""
    folder = item.path.relative_to(LIVE).parts[0] if item.path.is_relative_to(LIVE) else ""
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return a scheduler that keeps the groups of live tests together.

    The marker `xdist_group` is meant for this, but has no effect with pytest 9.2 and
    pytest-xdist 3.8: the name is written to an attribute that pytest no longer reads.
    """
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return worker_group(config.rootpath / nodeid.split("::", maxsplit=1)[0])

        def _assign_work_unit(self, node: WorkerController) -> None:
            """Assign the next group, but never a long group behind a group that has not started.

            A worker starts a test only when it has a second one assigned. Behind the demo loop
            (half an hour) the next longest group would wait while other workers are idle.
            Therefore the second group is taken from the end of the queue.
            """
            units = self.assigned_work[node].values()
            is_pending = any(not done for unit in units for done in unit.values())
            if is_pending and not any(done for unit in units for done in unit.values()):
                self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
            super()._assign_work_unit(node)

    return GroupScheduling(config, log)


@pytest.hookimpl(tryfirst=True)  # before `-m` deselects the long tests
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark all live tests but those of the one stack as long; start the longest tests first."""
    for item in items:
        if item.path.is_relative_to(LIVE) and not item.path.is_relative_to(LIVE / "whole"):
            item.add_marker(pytest.mark.long)
    if hasattr(config, "workerinput"):
        items.sort(key=_position)


def pytest_unconfigure(config: pytest.Config) -> None:
    # rmdir fails for a folder with logs, and for one that another worker has removed.
    with contextlib.suppress(OSError):
        config.stash[_LOGS].rmdir()


def _log_folder(item: pytest.Item) -> Path:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", item.nodeid.removeprefix("tests/live/"))
    return item.config.stash[_LOGS] / name[:120].strip("-")


@pytest.fixture
def process_logs(request: pytest.FixtureRequest) -> Path:
    """Return the folder for logs of this test's processes; the report of a failure names it."""
    folder = _log_folder(request.node)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def trainings_at_normal_priority() -> Iterator[None]:
    """Run trainings at normal priority.

    At the low priority of the product a training, and the test that waits for it, would wait for
    the tests of all other workers. `tests/unit/training/test_training_launcher.py` tests the low
    priority.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rank_processes, "NICENESS", 0)
        yield


def _read_end(log: Path, byte_count: int = 3000) -> str:
    """Return the end of a log, because after a run on another machine only the report remains."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - byte_count))
        text = stream.read().decode("utf-8", "replace")
    return textwrap.indent(text, "    | ")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    report = yield
    if report.failed:
        folder = _log_folder(item)
        logs = (
            sorted(path for path in folder.rglob("*") if path.is_file()) if folder.exists() else []
        )
        log_texts = "\n".join(
            f"  {path} ({path.stat().st_size} bytes)\n{_read_end(path)}" for path in logs
        )
        report.sections.append(("process logs", f"{folder}\n{log_texts or '  no log was written'}"))
    return report
