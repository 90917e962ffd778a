"""Query Dagster's records of a job's runs, so that sensors do not start a run twice.

Scope: queries on the instance.
Out of scope: decisions based on the runs (`twin_resources/idempotent_launch.py`,
`twin_resources/quality/retraining/`).

If a person materializes one of a job's assets in Dagster's UI, Dagster runs its implicit asset job
instead. That run produces the same result for the same partition, so it counts as a run of
the job.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg

from twin_resources.dagster_runs import IN_PROGRESS_STATUSES, Run
from twin_resources.quality.retraining.run_records import JOB, KEY_TAG, PARTITION_TAG

_ASSET_JOB = "__ASSET_JOB"  # Dagster's job for assets that are materialized in its UI
# Assets by job; materializing them manually has the same effect as a run of the job.
_ASSETS_BY_JOB = {
    JOB: {"fine_tuned_checkpoint", "preference_tuned_checkpoint"},
    "learn_routing": {"routing_labels"},
    "judge_answers": {"judged_interactions"},
    "compare_versions": {"shadow_pairs"},
}


class DagsterRunRecords:
    """The run records of one job. Create a new object for each tick: it caches runs in flight."""

    def __init__(
        self, instance: dg.DagsterInstance, *, job: str = JOB, key_tag: str = KEY_TAG
    ) -> None:
        """Prepare the queries for a job.

        Args:
            key_tag: the tag that identifies the reason for a run.
        """
        self._instance = instance
        self._job, self._key_tag = job, key_tag
        self._in_flight: dict[str, str] | None = None

    def in_flight_run_ids(self) -> Mapping[str, str]:
        """Map each author with a queued or active run to that run's id."""
        if self._in_flight is None:
            runs = self._runs(
                statuses=[dg.DagsterRunStatus(status) for status in IN_PROGRESS_STATUSES]
            )
            self._in_flight = {run.tags.get(PARTITION_TAG, ""): run.run_id for run in runs}
        return self._in_flight

    def runs_of_author(self, author: str, *, since: float) -> Sequence[Run]:
        """Return an author's runs created after `since` (seconds since the epoch), newest first."""
        created_after = datetime.fromtimestamp(since, UTC)
        return self._runs(tags={PARTITION_TAG: author}, created_after=created_after)

    def runs_with_key(self, run_key: str) -> Sequence[Run]:
        """Return the runs that were started for one reason, newest first."""
        return self._runs(tags={self._key_tag: run_key})

    def newest_success(self, author: str) -> Run | None:
        """Return the author's last successful run, or None."""
        statuses = [dg.DagsterRunStatus.SUCCESS]
        return next(iter(self._runs(1, tags={PARTITION_TAG: author}, statuses=statuses)), None)

    def _runs(self, limit: int | None = None, **criteria: object) -> list[Run]:
        records = list(self._records(self._job, limit, criteria))
        if job_assets := _ASSETS_BY_JOB.get(self._job):
            # Unlimited, because unrelated runs would count towards a limit.
            manual_records = self._records(_ASSET_JOB, None, criteria)
            records += [
                record for record in manual_records if job_assets & _selected_assets(record)
            ]
            records.sort(key=lambda record: record.create_timestamp, reverse=True)
        return [_to_run(record) for record in records[:limit]]

    def _records(
        self, job: str, limit: int | None, criteria: Mapping[str, object]
    ) -> Sequence[dg.RunRecord]:
        filters = dg.RunsFilter(job_name=job, **criteria)  # type: ignore[arg-type]
        return self._instance.get_run_records(filters, limit=limit)


def _selected_assets(record: dg.RunRecord) -> set[str]:
    return {key.to_user_string() for key in record.dagster_run.asset_selection or ()}


def _to_run(record: dg.RunRecord) -> Run:
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
