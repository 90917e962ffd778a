"""One Dagster instance for all ticks of a module: creating its databases takes a second a tick.

Scope: the instance without the runs and partitions of earlier ticks. Out of scope: the ticks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import dagster as dg
import pytest

_instances: list[dg.DagsterInstance] = []


@pytest.fixture(scope="module", autouse=True)
def dagster_instance() -> Iterator[None]:
    """Open the instance for the tests of a module and close it after them."""
    with dg.instance_for_test() as instance:
        _instances.append(instance)
        yield
        _instances.clear()


def emptied_instance(authors: Sequence[str]) -> dg.DagsterInstance:
    """Return the instance without runs, and with the partitions of these authors only."""
    [instance] = _instances
    for run in instance.get_runs():
        instance.delete_run(run.run_id)
    for author in instance.get_dynamic_partitions("authors"):
        instance.delete_dynamic_partition("authors", author)
    instance.add_dynamic_partitions("authors", list(authors))
    return instance
