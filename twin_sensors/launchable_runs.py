"""Select the runs that Dagster can start, and return a message for each of the others.

Scope: checking launches before a sensor or schedule requests them from Dagster.
Out of scope: the choice of runs (the sensors), and decisions based on earlier runs
(`twin_resources/idempotent_launch.py`).

Dagster rejects a whole tick if one of its requests names an unknown partition
(`DagsterUnknownPartitionError`), and the next tick would name the same partition again.

Dagster starts one run per run key, sensor and code location, so two code locations of one home
would start every run twice. Each tick therefore claims its requests in the state store. For a
minute, no other process requests the same job and author; after that, other processes find the
started run in Dagster's records. A retraining is claimed in its own row
(`retrainings.claim_launch`).
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable

import dagster as dg
import sqlalchemy as sa

from twin_resources.idempotent_launch import RunLaunch
from twin_resources.storage.state.failure_isolation import isolate_failure
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import launch_claims, upsert

PARTITIONS = "authors"
CLAIM_DURATION_S = 60.0  # a daemon creates the runs of a tick within seconds
# A code location evaluates all its ticks in one process, whose own claims do not block it.
_PROCESS_HOLDER = uuid.uuid4().hex


def select_launchable(
    instance: dg.DagsterInstance,
    launches: Iterable[RunLaunch],
    *,
    state: State | None = None,
    job: str = "",
    requested_partitions: Collection[str] = (),
) -> tuple[list[RunLaunch], list[str]]:
    """Return the launches that Dagster can start, and a message for each of the others.

    Args:
        state: the store in which the launches of `job` are claimed, or None if they are claimed
            elsewhere.
        requested_partitions: authors whose partitions are requested by the same tick.
    """
    launch_list = list(launches)
    unknown_authors = set(find_unknown_partitions(instance, launch_list)) - {*requested_partitions}
    ready_launches: list[RunLaunch] = []
    held_messages: list[str] = []
    for launch in launch_list:
        if launch.author in unknown_authors:
            held_messages.append(
                f"{launch.author}: Dagster has no partition {launch.author!r}; `twin up` or an "
                "import of the author's posts creates it"
            )
            continue
        with isolate_failure(launch.author, held_messages.append):
            to_run_request(launch)  # raises if the launch is invalid
            if state is None or _claim(state, job, launch.author):
                ready_launches.append(launch)
            else:
                message = f"another code location has just requested {job}"
                held_messages.append(f"{launch.author}: {message}" if launch.author else message)
    return ready_launches, held_messages


def _claim(state: State, job: str, author: str) -> bool:
    """Claim a job for an author; return False if another process holds a recent claim."""
    claim_filter = (launch_claims.c.job == job) & (launch_claims.c.author == author)
    with state.transaction() as connection:
        now_s = state.now(connection)
        existing_claim = connection.execute(
            sa.select(launch_claims).where(claim_filter)
        ).one_or_none()
        if existing_claim is not None and existing_claim.holder != _PROCESS_HOLDER:
            claim_age_s = now_s - existing_claim.claimed_at
            if 0 <= claim_age_s < CLAIM_DURATION_S:  # negative if the clock was set back
                return False
        row = {"job": job, "author": author, "holder": _PROCESS_HOLDER, "claimed_at": now_s}
        upsert(connection, launch_claims, [row])
    return True


def find_unknown_partitions(
    instance: dg.DagsterInstance, launches: Iterable[RunLaunch]
) -> list[str]:
    """Return the slugs of the launches' authors that have no partition."""
    known_partitions = {"", *instance.get_dynamic_partitions(PARTITIONS)}
    return sorted({launch.author for launch in launches} - known_partitions)


def to_run_request(launch: RunLaunch) -> dg.RunRequest:
    """Convert a launch to a request for Dagster's daemon."""
    return dg.RunRequest(
        run_key=launch.run_key,
        run_config=dict(launch.config),
        partition_key=launch.author or None,
        tags=dict(launch.tags),
    )
