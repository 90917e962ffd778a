"""Dagster's run records of one job, as whoever starts exactly one run asks for them.

Belongs here: queries on the instance. Does not belong here: what runs amount to
(`twin_resources/one_run.py`, `twin_resources/quality/retraining/`).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg

from twin_resources.dagster_runs import IN_PROGRESS, Run
from twin_resources.quality.retraining.run_records import JOB, KEY_TAG, PARTITION_TAG

_MOST = 1_000  # runs of one author in a year and more


class DagsterRunRecords:
    """Reads one instance; made for one tick, in which what is in flight is asked once."""

    def __init__(
        self, instance: dg.DagsterInstance, *, job: str = JOB, key_tag: str = KEY_TAG
    ) -> None:
        """`key_tag`: the tag by which a run names the reason that it was started for."""
        self._instance = instance
        self._job, self._key_tag = job, key_tag
        self._in_flight: dict[str, str] | None = None

    def in_flight(self) -> Mapping[str, str]:
        """Author → id of the run that is queued or running."""
        if self._in_flight is None:
            runs = self._runs(statuses=[dg.DagsterRunStatus(status) for status in IN_PROGRESS])
            self._in_flight = {run.tags.get(PARTITION_TAG, ""): run.run_id for run in runs}
        return self._in_flight

    def of_author(self, author: str, *, since: float) -> Sequence[Run]:
        """Runs of an author created since (seconds since the epoch), newest first."""
        created_after = datetime.fromtimestamp(since, UTC)
        return self._runs(_MOST, tags={PARTITION_TAG: author}, created_after=created_after)

    def of_key(self, run_key: str) -> Sequence[Run]:
        """Runs that were started for one reason, newest first."""
        return self._runs(tags={self._key_tag: run_key})

    def newest_success(self, author: str) -> Run | None:
        """The author's last run that succeeded; None: there is none."""
        statuses = [dg.DagsterRunStatus.SUCCESS]
        return next(iter(self._runs(1, tags={PARTITION_TAG: author}, statuses=statuses)), None)

    def _runs(self, most: int | None = None, **wanted: object) -> list[Run]:
        filters = dg.RunsFilter(job_name=self._job, **wanted)  # type: ignore[arg-type]
        return [_run_of(record) for record in self._instance.get_run_records(filters, limit=most)]


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
