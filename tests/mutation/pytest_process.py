"""Run tests in a copy of the checkout, in a process that is forked with the libraries imported.

Scope: running the tests. Out of scope: waiting for the process (`__main__.py`).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from tests.mutation.mutants import ROOT


def copy_environment(checkout: Path) -> dict[str, str]:
    """Return the environment variables of a process that runs tests in a copy."""
    libraries = [path for path in sys.path if path and not Path(path).is_relative_to(ROOT)]
    paths = os.pathsep.join([str(checkout), str(checkout / "deploy"), *libraries])
    return {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


class NoShrinking:
    """Pytest plugin that turns off Hypothesis's shrinking: any failing example is enough."""

    @pytest.hookimpl(trylast=True)  # after tests/conftest.py
    def pytest_configure(self) -> None:
        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("planted", settings.get_profile("short"), phases=phases)
        settings.load_profile("planted")


def run_tests(checkout: str, tests: list[str]) -> None:
    """Run tests in a copy until one fails, then exit this forked process with pytest's code."""
    os.chdir(checkout)
    os.environ.update(copy_environment(Path(checkout)))
    sys.path[:0] = [checkout, str(Path(checkout) / "deploy")]
    for name in [module for module in sys.modules if module.partition(".")[0] == "tests"]:
        del sys.modules[name]  # imported from the original checkout, without the bug
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.setsid()
    options = ["-q", "-x", "-n", "0", "-m", "not long", "--tb=no"]
    os._exit(pytest.main([*options, *tests], plugins=[NoShrinking()]))
