"""Which runs Dagster can start: one that it cannot is told and kept, and the others start.

Belongs here: the one look at launches before they become Dagster's requests, for every sensor and
schedule. Does not belong here: which runs are wanted (the sensors), what a look at their runs
amounts to (`twin_resources/idempotent_launch.py`).

Dagster refuses a tick as a whole when one of its requests names a partition that it does not know
(`DagsterUnknownPartitionError`), and the next tick names it again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import dagster as dg

from twin_resources.idempotent_launch import RunLaunch
from twin_resources.storage.state.isolating import isolate_failure

PARTITIONS = "authors"


def launchable(
    instance: dg.DagsterInstance,
    launches: Iterable[RunLaunch],
    *,
    added: Collection[str] = (),
) -> tuple[list[RunLaunch], list[str]]:
    """The launches that Dagster can start, and a line for each of the others.

    Args:
        added: authors whose partitions the same tick asks for.
    """
    wanted = list(launches)
    unknown = set(unknown_partitions(instance, wanted)) - {*added}
    ready: list[RunLaunch] = []
    held: list[str] = []
    for one in wanted:
        if one.author in unknown:
            held.append(
                f"{one.author}: waits: Dagster has no partition {one.author!r}; `twin up` or an "
                "import of the author's posts makes it"
            )
            continue
        with isolate_failure(one.author, held.append):
            request_of(one)
            ready.append(one)
    return ready, held


def unknown_partitions(instance: dg.DagsterInstance, launches: Iterable[RunLaunch]) -> list[str]:
    """Authors of the launches who are no partition yet, by slug."""
    known = {"", *instance.get_dynamic_partitions(PARTITIONS)}
    return sorted({one.author for one in launches} - known)


def request_of(launch: RunLaunch) -> dg.RunRequest:
    """A launch as Dagster's daemon takes it."""
    return dg.RunRequest(
        run_key=launch.run_key,
        run_config=dict(launch.config),
        partition_key=launch.author or None,
        tags=dict(launch.tags),
    )
