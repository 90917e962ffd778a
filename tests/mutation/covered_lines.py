"""Pytest plugin that records, with coverage.py, which test runs which lines of critical modules.

Scope: one coverage context per test. Out of scope: using the records (`__main__.py`).

Lines that a fixture with module or session scope runs count for each test of the file. Lines that
run only in a process started by a test are not recorded; their mutants count as untested.
`-p tests.mutation.covered_lines` loads the plugin. TWIN_COVERED_LINES names the output folder, into
which it writes one JSON line for each test that passed.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from coverage import Coverage

from tests.mutation.mutants import AREAS, ROOT, list_modules

CRITICAL_MODULES = [str(path) for area in AREAS for path in list_modules(area)]
_coverage = Coverage(data_file=None, include=CRITICAL_MODULES, messages=False)
_seconds_by_test: dict[str, float] = defaultdict(float)
_failed_tests: set[str] = set()


def pytest_collection_finish() -> None:
    _coverage.start()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any, request: pytest.FixtureRequest) -> Iterator[None]:
    if fixturedef.scope == "function":
        return (yield)
    _coverage.switch_context(_file_of(request.node.nodeid or str(request.config.rootpath)))
    try:
        return (yield)
    finally:
        _coverage.switch_context(os.environ["PYTEST_CURRENT_TEST"].rpartition(" (")[0])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _coverage.switch_context(item.nodeid)
    result = yield
    _coverage.switch_context("between tests")
    return result


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds_by_test[report.nodeid] += report.duration
    if not report.passed:
        _failed_tests.add(report.nodeid)


def pytest_sessionfinish() -> None:
    _coverage.stop()
    data = _coverage.get_data()
    lines: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for path in data.measured_files():
        for line, contexts in data.contexts_by_lineno(path).items():
            for context in contexts:
                lines[context][str(Path(path).relative_to(ROOT))].add(line)
    output = Path(os.environ["TWIN_COVERED_LINES"]) / f"{os.getpid()}.jsonl"
    with output.open("w", encoding="utf-8") as stream:
        for test in _seconds_by_test.keys() - _failed_tests:
            test_lines, fixture_lines = lines[test], lines[_file_of(test)]
            covered = {
                name: sorted(test_lines[name] | fixture_lines[name])
                for name in {*test_lines, *fixture_lines}
            }
            if covered:  # empty in xdist's controller, which runs no test
                row = {"test": test, "seconds": _seconds_by_test[test], "lines": covered}
                stream.write(json.dumps(row) + "\n")


def _file_of(test: str) -> str:
    return test.partition("::")[0]
