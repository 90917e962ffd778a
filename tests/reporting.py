"""What a test run says at its end: passed, failed, and skipped by reason; an unknown reason fails.

Belongs here: the pytest plugin that counts, and the reasons for which a test may be skipped.
Does not belong here: fixtures (`conftest.py`), the stages of a check (`deploy/checkout/check.py`).

A skip says that the machine lacks something. A reason that is not on the list is a test that nobody
decided to leave out, so it fails the run. Loaded by `twin check` with `-p tests.reporting`; with
TWIN_TEST_REPORT set to a file, the counts are added there as one JSON line a run.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# what a machine may lack; a test says which, then a colon, then what would provide it
KNOWN_SKIPS = (
    "extra `presidio` not installed",  # an optional second look at names; off by default
    "extra `clients` not installed",  # other people's clients of the endpoint; the check has it
    "no npm:",
    "shared data absent:",
    "no GPU:",
    "no account:",
    "no network namespaces:",
    "no bf16 instructions:",
    "no mounts:",
    "PostgreSQL binaries absent",
    "embedder wheel absent:",
    "no /proc on this machine",
    "long form:",
)


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

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.reasons: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.outcomes[report.nodeid] = "failed"
        elif report.skipped:
            self.outcomes.setdefault(report.nodeid, "skipped")
            self.reasons[reason_of(report)] += 1
        elif report.when == "call":
            self.outcomes.setdefault(report.nodeid, "passed")

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
        for reason in self.unknown:
            terminalreporter.line(
                f"FAILED: skipped for a reason that tests/reporting.py does not know: {reason}",
                red=True,
            )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # with xdist the controller sees every report
        config.pluginmanager.register(Counts(), "twin-counts")
