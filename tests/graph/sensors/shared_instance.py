"""Share one Dagster instance among the ticks of a test module, because creating one takes a second.

Scope: the instance, and removing the runs and partitions of earlier ticks. Out of scope: ticks.
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


def reset_instance(authors: Sequence[str]) -> dg.DagsterInstance:
    """Delete all runs, leave only these authors' partitions, and return the instance."""
    [instance] = _instances
    for run in instance.get_runs():
        instance.delete_run(run.run_id)
    for author in instance.get_dynamic_partitions("authors"):
        instance.delete_dynamic_partition("authors", author)
    instance.add_dynamic_partitions("authors", list(authors))
    return instance
