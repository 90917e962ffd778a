"""One of N shares of a test run, for N machines: `twin check --shard 2/3`.

Belongs here: the pytest plugin that leaves out the other shares' tests.
Does not belong here: which live tests stay together (`tests/live/conftest.py`), and workers on one
machine (pytest-xdist).

What stays together (a file; of live tests what shares a stack) is dealt like cards, the longest
first, so that every share gets some of the long ones. The same tests collected give the same
shares on every machine, without a word between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from checkout.check import share_of

from tests.live.conftest import LIVE, LONGEST_FIRST, group_of

Group = tuple[int, str]
"""Its turn and its name."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shard", metavar="I/N", type=share_of, default=(1, 1))


def group_in_turn(path: Path) -> Group:
    """What a test's file is run together with, and when its turn comes: long live ones first."""
    if not path.is_relative_to(LIVE):
        return len(LONGEST_FIRST), str(path)
    folder = path.relative_to(LIVE).parts[0]
    known = folder in LONGEST_FIRST
    return LONGEST_FIRST.index(folder) if known else len(LONGEST_FIRST), group_of(path)


def chosen_groups(groups: Sequence[Group], shard: tuple[int, int]) -> set[Group]:
    """The groups of one share: each of them is in exactly one."""
    number, of = shard
    return set(sorted(set(groups))[number - 1 :: of])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    shard = config.getoption("--shard")
    chosen = chosen_groups([group_in_turn(item.path) for item in items], shard)
    left_out = [item for item in items if group_in_turn(item.path) not in chosen]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if group_in_turn(item.path) in chosen]
