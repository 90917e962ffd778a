"""Query Dagster's records of `import_posts` for the sensor and the schedules that start it.

Scope: queries on the instance that only `import_posts` needs.
Out of scope: decisions based on the records (`sources/import_decisions.py`).
"""

from collections.abc import Callable

import dagster as dg

from twin_resources.storage.sources.import_decisions import (
    ImportDecision,
    SourcesState,
    build_run_key,
    decide_import,
)
from twin_resources.storage.sources.listing import SOURCES_FINGERPRINT_KEY
from twin_sensors.dagster_run_records import DagsterRunRecords

CHANGE_TAG = "twin/change"


class ImportRuns(DagsterRunRecords):
    """The import runs of one instance. Create a new object per tick: it caches runs in flight."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        super().__init__(instance, job="import_posts", key_tag=CHANGE_TAG)

    def decide_import(
        self,
        kind: str,
        author: str,
        known_sources: SourcesState | None,
        sources_fingerprint: str,
        *,
        epoch: int,
        now: float,
        is_imported: Callable[[], bool],
    ) -> ImportDecision:
        """Decide whether to start an import after one check of an author's sources.

        Args:
            kind, epoch: parts of the key, as for `build_run_key`.
            now: seconds since the epoch.
            is_imported: returns whether another import has already read the sources; called only
                if the sources changed or the known state is not settled.
        """
        is_settled = known_sources is not None and known_sources.settled
        runs = (
            ()
            if known_sources is None or is_settled
            else self.runs_with_key(build_run_key(kind, author, epoch, known_sources))
        )
        is_unchanged = known_sources is not None and known_sources.mark == sources_fingerprint
        return decide_import(
            known_sources,
            sources_fingerprint,
            now=now,
            is_imported=not (is_settled and is_unchanged) and is_imported(),
            is_import_running=author in self.in_flight_run_ids(),
            runs=runs,
        )

    def has_started_since(self, author: str, timestamp: float) -> bool:
        """Return whether the newest import began after `timestamp` (seconds since the epoch)."""
        record = self._find_newest_import(author)
        run = None if record is None else self._instance.get_run_record_by_id(record.run_id)
        return run is not None and (run.start_time or 0.0) > timestamp

    def has_imported(self, author: str, sources_fingerprint: str) -> bool:
        """Return whether an author's newest import read the sources with this fingerprint."""
        record = self._find_newest_import(author)
        if record is None or record.asset_materialization is None:
            return False
        recorded_fingerprint = record.asset_materialization.metadata.get(SOURCES_FINGERPRINT_KEY)
        return (
            recorded_fingerprint is not None and recorded_fingerprint.value == sources_fingerprint
        )

    def _find_newest_import(self, author: str) -> dg.EventLogRecord | None:
        records = self._instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey("raw_posts"), asset_partitions=[author]),
            limit=1,
        ).records
        return records[0] if records else None
