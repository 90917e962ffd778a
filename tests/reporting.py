"""Report a test run: each failure immediately, and at the end the counts and the skip reasons.

Scope: the pytest plugin that counts outcomes, and the reasons for which a test may be skipped.
Out of scope: fixtures (`conftest.py`), the check (`deploy/checkout/check.py`).

A test is skipped when the machine lacks something. A reason that is not listed here fails the run,
because nobody decided to skip that test. With workers, pytest itself reports even an early failure
only at the end, after half an hour; this plugin prints the test's name and error immediately.

`check.sh` loads the plugin with `-p tests.reporting`. If TWIN_TEST_REPORT is set to a file, the
plugin appends the counts of each run to it as one JSON line.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Known skip reasons begin with one of these texts. After a colon, a test names what it needs.
KNOWN_SKIPS = (
    "extra `formats` not installed",  # posts in formats other than Markdown; the check has it
    "extra `bench` not installed",  # TRL; the check has it
    "extra `clickhouse` not installed",  # a database of 180 MB; the long check has it
    "extra `clients` not installed",  # third-party clients of the endpoint; the check has it
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
    """Return whether a test may be skipped for this reason."""
    return reason.startswith(KNOWN_SKIPS)


def skip_reason(report: Any) -> str:
    """Return the reason of a skipped report, without pytest's prefix and location."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(getattr(report, "wasxfail", "") or report.longrepr)


class OutcomeReport:
    """Outcomes of a run. Each test counts once, as failed if any of its phases failed."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.outcomes: dict[str, str] = {}
        self.reasons: Counter[str] = Counter()
        self.seconds_by_file: defaultdict[str, float] = defaultdict(float)  # of all workers

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds_by_file[report.location[0]] += report.duration
        if report.failed:
            self.outcomes[report.nodeid] = "failed"
            self._print_failure(report)
        elif report.skipped:
            self.outcomes.setdefault(report.nodeid, "skipped")
            self.reasons[skip_reason(report)] += 1
        elif report.when == "call":
            self.outcomes.setdefault(report.nodeid, "passed")

    def _print_failure(self, report: pytest.TestReport) -> None:
        terminal: Any = self.config.pluginmanager.getplugin("terminalreporter")
        crash = getattr(report.longrepr, "reprcrash", None)
        error = str(crash.message if crash else report.longrepr).split("\n", 1)[0]
        terminal.ensure_newline()
        terminal.line(f"FAILED in {report.when}: {report.nodeid}: {error}", red=True)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.outcomes[report.nodeid] = "failed"
        elif report.skipped:
            self.outcomes[report.nodeid] = "skipped"
            self.reasons[skip_reason(report)] += 1

    def count(self, outcome: str) -> int:
        return sum(recorded == outcome for recorded in self.outcomes.values())

    @property
    def unknown_reasons(self) -> list[str]:
        return sorted(reason for reason in self.reasons if not is_known(reason))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        if self.unknown_reasons and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        result = yield
        report_file = os.environ.get("TWIN_TEST_REPORT")
        if report_file:
            line = {name: self.count(name) for name in ("passed", "failed", "skipped")}
            with Path(report_file).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line | {"reasons": self.reasons}) + "\n")
        return result

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.section("outcome")
        for outcome in ("passed", "failed", "skipped"):
            terminalreporter.line(f"{outcome:>8} {self.count(outcome)}")
        for reason, count in sorted(self.reasons.items()):
            terminalreporter.line(f"{count:>12} × {reason}")
        longest = sorted(self.seconds_by_file.items(), key=lambda entry: -entry[1])[:MAX_FILES]
        terminalreporter.section("seconds by file")
        for path, seconds in longest:
            terminalreporter.line(f"{seconds:>8.1f} {path}")
        for reason in self.unknown_reasons:
            terminalreporter.line(
                "FAILED: a test was skipped for a reason that KNOWN_SKIPS in tests/reporting.py "
                f"does not list: {reason}",
                red=True,
            )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # with xdist the controller sees every report
        config.pluginmanager.register(OutcomeReport(config), "twin-counts")
