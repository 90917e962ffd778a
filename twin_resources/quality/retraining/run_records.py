"""Runs of the job that trains, as the loop asks whoever starts them.

Scope: the protocol, tags, and what an author's runs amount to.
Out of scope: asking Dagster (`twin_sensors/dagster_run_records.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from twin_resources.dagster_runs import Run
from twin_resources.statistics.retraining_limits import Usage

JOB = "retrain_twin"
PARTITION_TAG = "dagster/partition"
KEY_TAG = "twin/run_key"  # of the first attempt; `dagster/run_key` has the attempt in it
ATTEMPT_TAG = "twin/attempt"
BUDGET_DAYS = 30
DAY_S = 86_400.0


class RunRecords(Protocol):
    """Read access to the records of `retrain_twin`."""

    def in_flight(self) -> Mapping[str, str]:
        """Author → id of the run that is queued or running."""
        ...

    def of_author(self, author: str, *, since: float) -> Sequence[Run]:
        """Runs of an author created since (seconds since the epoch), newest first."""
        ...

    def of_key(self, run_key: str) -> Sequence[Run]:
        """Runs of one decided retraining, all attempts, newest first."""
        ...


def usage_of(runs: Sequence[Run], *, in_flight: str, now: float) -> Usage:
    """What an author's trainings have used.

    Args:
        runs: of at least the last 30 days.
        in_flight: see `Usage`.
    """
    recent = [run for run in runs if run.created >= now - BUDGET_DAYS * DAY_S]
    seconds = sum(
        max(0.0, (run.ended if run.ended is not None else now) - run.started)
        for run in recent
        if run.started is not None
    )
    return Usage(
        in_flight=in_flight,
        last_started=max((run.created for run in runs), default=None),
        runs=len(recent),
        hours=seconds / 3600,
    )
