"""Which test runs which line of the modules that decide: a pytest plugin on coverage.py.

Scope: one context a test. Out of scope: what is done with it (`__main__.py`).
What a fixture of a module or session runs counts for each test of the file. A line that only a
process started by a test runs is not seen: its mutants count as untested.
Loaded with `-p tests.mutation.touched_lines`; TWIN_TOUCHED_LINES names the folder for its answers,
one JSON line for each test that passed.
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

from tests.mutation.mutants import AREAS, ROOT, modules_of

WATCHED = [str(path) for area in AREAS for path in modules_of(area)]
_coverage = Coverage(data_file=None, include=WATCHED, messages=False)
_seconds: dict[str, float] = defaultdict(float)
_failed: set[str] = set()


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
    _seconds[report.nodeid] += report.duration
    if not report.passed:
        _failed.add(report.nodeid)


def pytest_sessionfinish() -> None:
    _coverage.stop()
    data = _coverage.get_data()
    lines: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for path in data.measured_files():
        for line, contexts in data.contexts_by_lineno(path).items():
            for context in contexts:
                lines[context][str(Path(path).relative_to(ROOT))].add(line)
    answers = Path(os.environ["TWIN_TOUCHED_LINES"]) / f"{os.getpid()}.jsonl"
    with answers.open("w", encoding="utf-8") as stream:
        for test in _seconds.keys() - _failed:
            own, shared = lines[test], lines[_file_of(test)]
            both = {name: sorted(own[name] | shared[name]) for name in {*own, *shared}}
            if both:  # xdist's controller runs none
                row = {"test": test, "seconds": _seconds[test], "lines": both}
                stream.write(json.dumps(row) + "\n")


def _file_of(test: str) -> str:
    return test.partition("::")[0]
