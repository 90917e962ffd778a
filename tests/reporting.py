"""What a test run says: each failure at once; at its end passed, failed, and skipped by reason.

Scope: the pytest plugin that counts, and the reasons for which a test may be skipped.
Out of scope: fixtures (`conftest.py`), the stages of a check (`deploy/checkout/check.py`).

A skip says that the machine lacks something. A reason that is not on the list is a test that nobody
decided to leave out, so it fails the run. With workers, pytest says at the end of half an hour what
failed in its first minute; here its name and error stand at once. Loaded by `twin check` with
`-p tests.reporting`; with TWIN_TEST_REPORT set to a file, the counts are added there as one JSON
line a run.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.drawn import SEED, choose_seed

# what a machine may lack; a test says which, then a colon, then what would provide it
KNOWN_SKIPS = (
    "extra `formats` not installed",  # posts in other formats than Markdown; the check has it
    "extra `bench` not installed",  # TRL; the check has it
    "extra `clickhouse` not installed",  # 180 MB of a database; the long check has it
    "extra `clients` not installed",  # other people's clients of the endpoint; the check has it
    "no npm:",
    "shared data absent:",
    "no GPU:",
    "no account:",
    "no network namespaces:",
    "no mounts:",
    "no promtool:",
    "PostgreSQL binaries absent",
    "embedder wheel absent:",
    "no /proc on this machine",
    "long form:",
)
MAX_FILES = 30


def is_known(reason: str) -> bool:
    """Whether a test may be skipped for this reason."""
    return reason.startswith(KNOWN_SKIPS)


def reason_of(report: Any) -> str:
    """Why a report says skipped, without pytest's prefix and place."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(getattr(report, "wasxfail", "") or report.longrepr)


class Counts:
    """Outcomes of one run; a test is counted once, and failed when any of its phases failed."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.outcomes: dict[str, str] = {}
        self.reasons: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)  # by file, of all workers

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.location[0]] += report.duration
        if report.failed:
            self.outcomes[report.nodeid] = "failed"
            self._say_at_once(report)
        elif report.skipped:
            self.outcomes.setdefault(report.nodeid, "skipped")
            self.reasons[reason_of(report)] += 1
        elif report.when == "call":
            self.outcomes.setdefault(report.nodeid, "passed")

    def _say_at_once(self, report: pytest.TestReport) -> None:
        terminal: Any = self.config.pluginmanager.getplugin("terminalreporter")
        crash = getattr(report.longrepr, "reprcrash", None)
        error = str(crash.message if crash else report.longrepr).split("\n", 1)[0]
        terminal.ensure_newline()
        terminal.line(f"FAILED in its {report.when}: {report.nodeid}: {error}", red=True)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.outcomes[report.nodeid] = "failed"
        elif report.skipped:
            self.outcomes[report.nodeid] = "skipped"
            self.reasons[reason_of(report)] += 1

    def count(self, outcome: str) -> int:
        return sum(found == outcome for found in self.outcomes.values())

    @property
    def unknown(self) -> list[str]:
        return sorted(reason for reason in self.reasons if not is_known(reason))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        if self.unknown and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        result = yield
        target = os.environ.get("TWIN_TEST_REPORT")
        if target:
            line = {name: self.count(name) for name in ("passed", "failed", "skipped")}
            with Path(target).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line | {"reasons": self.reasons}) + "\n")
        return result

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.section("outcome")
        for outcome in ("passed", "failed", "skipped"):
            terminalreporter.line(f"{outcome:>8} {self.count(outcome)}")
        for reason, number in sorted(self.reasons.items()):
            terminalreporter.line(f"{number:>12} × {reason}")
        terminalreporter.line(f"{'':>13}cases drawn by {SEED}={choose_seed()}")
        longest = sorted(self.seconds.items(), key=lambda one: -one[1])[:MAX_FILES]
        terminalreporter.section("seconds by file")
        for path, seconds in longest:
            terminalreporter.line(f"{seconds:>8.1f} {path}")
        for reason in self.unknown:
            terminalreporter.line(
                f"FAILED: skipped for a reason that tests/reporting.py does not know: {reason}",
                red=True,
            )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # with xdist the controller sees every report
        config.pluginmanager.register(Counts(config), "twin-counts")
