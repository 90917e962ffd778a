"""Define access to the runs of the training job, and sum an author's usage.

Scope: the protocol, tags, the usage of an author's runs.
Out of scope: reading Dagster (`twin_sensors/dagster_run_records.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from twin_resources.dagster_runs import Run
from twin_resources.statistics.retraining_limits import TrainingUsage

JOB = "retrain_twin"
PARTITION_TAG = "dagster/partition"
KEY_TAG = "twin/run_key"  # key of the first attempt; `dagster/run_key` includes the attempt
ATTEMPT_TAG = "twin/attempt"
BUDGET_DAYS = 30
DAY_S = 86_400.0


class RunRecords(Protocol):
    """Read access to the records of `retrain_twin`."""

    def in_flight_run_ids(self) -> Mapping[str, str]:
        """Return author → id of the queued or running run."""
        ...

    def runs_of_author(self, author: str, *, since: float) -> Sequence[Run]:
        """Return runs of an author created since (seconds since the epoch), newest first."""
        ...

    def runs_with_key(self, run_key: str) -> Sequence[Run]:
        """Return the runs of one decided retraining, all attempts, newest first."""
        ...


def sum_usage(runs: Sequence[Run], *, in_flight_run_id: str, now: float) -> TrainingUsage:
    """Sum the usage of an author's trainings.

    Args:
        runs: runs of at least the last 30 days.
        in_flight_run_id: see `Usage`.
    """
    recent = [run for run in runs if run.created >= now - BUDGET_DAYS * DAY_S]
    seconds = sum(
        max(0.0, (run.ended if run.ended is not None else now) - run.started)
        for run in recent
        if run.started is not None
    )
    return TrainingUsage(
        in_flight_run_id=in_flight_run_id,
        last_started=max((run.created for run in runs), default=None),
        runs=len(recent),
        hours=seconds / 3600,
    )
