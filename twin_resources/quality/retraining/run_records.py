"""Define access to the runs of the training job.

Scope: the protocol and tags.
Out of scope: reading Dagster (`twin_sensors/dagster_run_records.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from twin_resources.dagster_runs import Run

JOB = "retrain_twin"
PARTITION_TAG = "dagster/partition"
KEY_TAG = "twin/run_key"  # key of the first attempt; `dagster/run_key` includes the attempt
ATTEMPT_TAG = "twin/attempt"
BUDGET_DAYS = 30


class RunRecords(Protocol):
    """Read access to the records of `retrain_twin`."""

    def in_flight_run_ids(self) -> Mapping[str, str]:
        """Return author → id of the queued or running run."""
        ...

    def runs_of_author(self, author: str, *, since: float) -> Sequence[Run]:
        """Return an author's runs created at `since` (seconds since the epoch) or later.

        The newest run comes first.
        """
        ...

    def runs_with_key(self, run_key: str) -> Sequence[Run]:
        """Return the runs of all attempts of one retraining, newest first."""
        ...
