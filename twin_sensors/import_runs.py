"""Dagster's records of `import_posts`: what is running, how a run ended, when sources were read.

Belongs here: queries on the instance, for the sensor and the schedules that start imports.
Does not belong here: what they amount to (`sources/arrivals.py`).
"""

from collections.abc import Iterable

import dagster as dg

from twin_resources.dagster_runs import IN_PROGRESS

CHANGE_TAG = "twin/change"
_AUTHORS = dg.DynamicPartitionsDefinition(name="authors")


class ImportRuns:
    """Reads one instance; made for one tick, in which what is in flight is asked once."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._in_flight: frozenset[str] | None = None

    def in_flight(self) -> frozenset[str]:
        """Authors of whom an import is queued or running."""
        if self._in_flight is None:
            filters = dg.RunsFilter(
                job_name="import_posts",
                statuses=[dg.DagsterRunStatus(status) for status in IN_PROGRESS],
            )
            runs = self._instance.get_runs(filters)
            self._in_flight = frozenset(run.tags.get("dagster/partition", "") for run in runs)
        return self._in_flight

    def status_of(self, key: str) -> str:
        """Dagster's word for the newest run of a change; "" when there is none."""
        runs = self._instance.get_runs(dg.RunsFilter(tags={CHANGE_TAG: key}), limit=1)
        return runs[0].status.value if runs else ""

    def imported_since(self, author: str, moment: float) -> bool:
        """Whether the newest import of an author began after `moment`."""
        records = self._instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey("raw_posts"), asset_partitions=[author]),
            limit=1,
        ).records
        if not records:
            return False
        run = self._instance.get_run_record_by_id(records[0].run_id)
        return run is not None and (run.start_time or 0.0) > moment

    def unknown_partitions(self, authors: Iterable[str]) -> list[str]:
        """Those that are no partition yet."""
        known = set(self._instance.get_dynamic_partitions("authors"))
        return sorted(set(authors) - known)

    def addition(self, authors: Iterable[str]) -> dg.AddDynamicPartitionsRequest:
        """The request by which a tick makes partitions of them."""
        return _AUTHORS.build_add_request(sorted(authors))
