"""A process that runs tests in a copy of the checkout, forked from one that has the libraries.

Scope: what such a process does. Out of scope: who waits for it (`__main__.py`).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from tests.mutation.mutants import ROOT


def environment_of(copied: Path) -> dict[str, str]:
    """What a process that runs tests in a copy finds in its environment."""
    others = [one for one in sys.path if one and not Path(one).is_relative_to(ROOT)]
    paths = os.pathsep.join([str(copied), str(copied / "deploy"), *others])
    return {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


class NoShrinking:
    """Hypothesis looks for no smaller example: that one fails is enough."""

    @pytest.hookimpl(trylast=True)  # after tests/conftest.py
    def pytest_configure(self) -> None:
        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("planted", settings.get_profile("short"), phases=phases)
        settings.load_profile("planted")


def run_tests(copied: str, tests: list[str]) -> None:
    """In a fork that has imported the libraries: run tests in a copy until one fails."""
    os.chdir(copied)
    os.environ.update(environment_of(Path(copied)))
    sys.path[:0] = [copied, str(Path(copied) / "deploy")]
    for name in [module for module in sys.modules if module.partition(".")[0] == "tests"]:
        del sys.modules[name]  # imported from the checkout, which has no bug
    silent = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(silent, descriptor)
    os.setsid()
    options = ["-q", "-x", "-n", "0", "-m", "not long", "--tb=no"]
    os._exit(pytest.main([*options, *tests], plugins=[NoShrinking()]))
