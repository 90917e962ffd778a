"""Dagster's run records of `retrain_twin`, as `loop.run_records.RunRecords` asks for them.

Belongs here: queries on the instance. Does not belong here: what runs amount to (`retraining/`).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg

from twin_resources.dagster_runs import IN_PROGRESS, Run
from twin_resources.quality.retraining.run_records import JOB, KEY_TAG, PARTITION_TAG

_MOST = 1_000  # runs of one author in a year and more


class DagsterRunRecords:
    """Reads one instance; made for one tick, in which what is in flight is asked once."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._in_flight: dict[str, str] | None = None

    def in_flight(self) -> Mapping[str, str]:
        """Author → id of the run that is queued or running."""
        if self._in_flight is None:
            filters = dg.RunsFilter(
                job_name=JOB, statuses=[dg.DagsterRunStatus(status) for status in IN_PROGRESS]
            )
            found = [_run_of(record) for record in self._instance.get_run_records(filters)]
            self._in_flight = {run.tags.get(PARTITION_TAG, ""): run.run_id for run in found}
        return self._in_flight

    def of_author(self, author: str, *, since: float) -> Sequence[Run]:
        """Runs of an author created since (seconds since the epoch), newest first."""
        filters = dg.RunsFilter(
            job_name=JOB,
            tags={PARTITION_TAG: author},
            created_after=datetime.fromtimestamp(since, UTC),
        )
        return [_run_of(record) for record in self._instance.get_run_records(filters, limit=_MOST)]

    def of_key(self, run_key: str) -> Sequence[Run]:
        """Runs of one decided retraining, newest first."""
        filters = dg.RunsFilter(tags={KEY_TAG: run_key})
        return [_run_of(record) for record in self._instance.get_run_records(filters)]


def _run_of(record: dg.RunRecord) -> Run:
    run = record.dagster_run
    return Run(
        run_id=run.run_id,
        job=run.job_name,
        status=run.status.value,
        created=record.create_timestamp.timestamp(),
        started=record.start_time,
        ended=record.end_time,
        tags=dict(run.tags),
    )
