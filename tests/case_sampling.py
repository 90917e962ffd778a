"""Choose which cases of slow tests with the marker `drawn` the short check runs.

Scope: the random draw and its seed. Out of scope: the marker `long`, for tests that the short check
never runs.

    @pytest.mark.drawn(1)                          one case of a parametrized test
    @pytest.mark.drawn(2, of="killed trainings")   two of all tests and cases with this name

The long check runs every case, and so does pytest without `-m "not long"`. A short check draws anew
each time and prints its seed; setting TWIN_TEST_SEED to that seed repeats the draw.
"""

from __future__ import annotations

import os
import secrets
from collections import defaultdict
from collections.abc import Iterable
from random import Random

import pytest

SEED_VARIABLE = "TWIN_TEST_SEED"


def choose_seed() -> str:
    """Return this run's seed, set in the environment so that all workers collect the same cases."""
    return os.environ.setdefault(SEED_VARIABLE, str(secrets.randbelow(1_000_000)))


def find_deselected(items: Iterable[pytest.Item], seed: str) -> set[str]:
    """Return the node ids that a short check deselects.

    Raises:
        ValueError: two markers with the same name have different numbers.
    """
    groups: defaultdict[str, list[str]] = defaultdict(list)
    case_counts: dict[str, int] = {}
    for item in items:
        marker = item.get_closest_marker("drawn")
        if marker is None:
            continue
        name = marker.kwargs.get("of") or item.nodeid.partition("[")[0]
        if case_counts.setdefault(name, marker.args[0]) != marker.args[0]:
            raise ValueError(
                f"drawn: {name!r} has two numbers; give {item.nodeid} the number of its group"
            )
        groups[name].append(item.nodeid)
    deselected: set[str] = set()
    for name, nodeids in groups.items():
        count = min(case_counts[name], len(nodeids))
        selected = Random(f"{seed} {name}").sample(sorted(nodeids), count)
        deselected |= set(nodeids) - set(selected)
    return deselected
