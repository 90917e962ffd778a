"""Erase from the store `dagster`: runs, event log, ticks, partitions and compute logs.

Scope: finding the runs and rows of Dagster's own records that contain the erased data, and removing
them. Out of scope: jobs and sensors (`twin_sensors`); no other module of this package uses Dagster.

No asset writes a post's text into an event, but an exception may quote one, and authors' names are
partition keys and tags. A run that contains erased data is deleted with its events and logs; for an
erased author, all runs are deleted. Ticks that name the target are deleted, and so is what a sensor
logged in a tick; Dagster rebuilds an asset's cached state. Last, every file of the instance that
still contains the target is cleaned, so `erase` reaches all that `find_remaining` reads. API:
`DagsterInstance.delete_run`; other rows are deleted through the storages' SQLAlchemy connections,
for SQLite and PostgreSQL. On PostgreSQL, each table is then rewritten under a lock (https://www.postgresql.org/docs/15/sql-vacuum.html).
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.scheduler.instigation import TickData
from dagster._serdes import deserialize_value

from twin_resources.dagster_runs import ENDED_BY_TAG, ERASURE_TAG_VALUE, IN_PROGRESS_STATUSES
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.decoding import find_in_file
from twin_resources.erasure.erasure_target import ErasureTarget
from twin_resources.erasure.home_files import clean_file
from twin_resources.erasure.postgresql_tables import rewrite_tables
from twin_resources.erasure.sqlite_files import rewrite_database
from twin_resources.errors import TwinError
from twin_resources.wait_limits import MAX_WORKING_S

PARTITIONS_NAME, PARTITION_TAG = "authors", "dagster/partition"
# Matching rows of these tables are deleted. In the tables of `_CLEARED_COLUMNS`, only the listed
# columns are cleared.
_CLEARED_COLUMNS = {
    "asset_keys": ("last_materialization", "asset_details", "cached_status_data", "tags")
}
_TABLES = _CLEARED_COLUMNS.keys() | {
    *("job_ticks", "kvs", "dynamic_partitions", "asset_event_tags", "event_logs", "instigators"),
    *("asset_check_executions", "run_tags", "bulk_actions", "backfill_tags", "jobs"),
    "asset_daemon_asset_evaluations",
}


@dataclass(frozen=True)
class DagsterRecords:
    """The records of one Dagster instance.

    Attributes:
        dagster: the instance, or None if this home has never had one.
        own_run_id: id of the run that performs the erasure; it is neither ended nor deleted.
    """

    installation: Installation
    dagster: DagsterInstance | None
    own_run_id: str = ""
    name: str = "dagster"

    def end_active_runs(self, target: ErasureTarget) -> int:
        """Cancel active runs that could write the data back, and wait until they have ended.

        Each canceled run gets a tag, so that its launcher starts it again. Return their number.

        Raises:
            TwinError: a run has not ended after an hour.
        """
        if self.dagster is None:
            return 0
        statuses = [DagsterRunStatus(status) for status in IN_PROGRESS_STATUSES]
        active_runs = [
            run
            for run in self.dagster.get_runs(RunsFilter(statuses=statuses))
            if run.tags.get(PARTITION_TAG) in target.authors and run.run_id != self.own_run_id
        ]
        for run in active_runs:
            self._cancel_run(run)
        deadline = time.monotonic() + MAX_WORKING_S  # Dagster's monitoring ends dead runs
        for run in active_runs:
            while not self._is_finished(run.run_id):
                if time.monotonic() > deadline:
                    raise TwinError(
                        f"end the run {run.run_id[:8]} of {run.job_name}",
                        found=f"it is still running after {MAX_WORKING_S:g} s",
                        next_step="end it in the Dagster UI, then run `twin forget` again",
                    )
                time.sleep(0.2)
        return len(active_runs)

    def erase(self, target: ErasureTarget) -> int:
        """See `DataStore.erase`."""
        if self.dagster is None:
            return 0
        erased_count = 0
        for run_id in list(self._find_runs_with_target(target)):
            self.dagster.delete_run(run_id)
            self.dagster.compute_log_manager.delete_logs(prefix=[run_id])
            for path in self._folder.glob(f"history/runs/{run_id}.db*"):
                path.unlink()
            erased_count += 1
        if target.is_whole_author and self.dagster.has_dynamic_partition(
            PARTITIONS_NAME, target.author
        ):
            self.dagster.delete_dynamic_partition(PARTITIONS_NAME, target.author)
            erased_count += 1
        # before the ticks, whose rows name the logs
        for log_key in list(self._find_tick_logs_with_target(target)):
            self.dagster.compute_log_manager.delete_logs(log_key=log_key)
            erased_count += 1
        engines: list[sa.Engine] = []
        for connection_context in self._open_storages():
            with connection_context as connection:
                erased_count += _erase_rows(connection, target)
                if connection.dialect.name == "postgresql":
                    engines.append(connection.engine)
        if engines and erased_count:
            # The three storages of an instance share one database.
            existing_tables = set(sa.inspect(engines[0]).get_table_names())
            rewrite_tables(engines[0], sorted(existing_tables & (_TABLES | {"runs"})))
        for path in sorted(self._folder.rglob("*.db")):
            rewrite_database(path)
        for path in self._find_files_with_target(target):
            clean_file(path, target)
            erased_count += 1
        return erased_count

    def find_remaining(self, target: ErasureTarget) -> list[str]:
        """See `DataStore.find_remaining`."""
        if self.dagster is None:
            return []
        locations: list[str] = []
        if self._find_runs_folder() is None:
            locations += [f"run {run_id}" for run_id in self._find_runs_with_target(target)]
            for connection_context in self._open_storages():
                with connection_context as connection:
                    locations += _find_tables_with_target(connection, target)
        locations += [f"tick {'/'.join(key)}" for key in self._find_tick_logs_with_target(target)]
        for path, location in self._find_files_with_target(target).items():
            locations.append(f"{path.relative_to(self._folder)}: {location}")
        return locations

    def _find_files_with_target(self, target: ErasureTarget) -> dict[Path, str]:
        """Return the instance's files that contain the target, each with the first location."""
        locations: dict[Path, str] = {}
        for path in sorted(path for path in self._folder.rglob("*") if path.is_file()):
            if path.name.endswith(("-wal", "-shm", "-journal")):
                continue  # read with their database
            for location in find_in_file(path, target):
                locations[path] = location
        return locations

    def _find_tick_logs_with_target(self, target: ErasureTarget) -> Iterator[Sequence[str]]:
        """Yield the keys of ticks' logs that contain the target, wherever logs are stored."""
        assert self.dagster is not None
        storage: Any = self.dagster.schedule_storage
        with storage.connect() as connection:
            bodies = connection.execute(sa.text("SELECT tick_body FROM job_ticks")).scalars().all()
        for body in bodies:
            log_key = deserialize_value(body, TickData).log_key
            if log_key is None:  # the tick logged nothing
                continue
            logs = self.dagster.compute_log_manager.get_log_data(log_key)
            if any(
                target.matches_text(log.decode("utf-8", errors="replace"))
                for log in (logs.stdout, logs.stderr)
                if log
            ):
                yield log_key

    def _find_runs_with_target(self, target: ErasureTarget) -> Iterator[str]:
        assert self.dagster is not None
        for run in self.dagster.get_runs():
            if run.run_id == self.own_run_id:
                continue
            belongs_to_author = target.is_whole_author and target.author in run.tags.values()
            if (
                belongs_to_author
                or target.matches_value([dict(run.tags), run.run_config])
                or self._events_contain_target(run.run_id, target)
                or self._logs_contain_target(run.run_id, target)
            ):
                yield run.run_id

    def _events_contain_target(self, run_id: str, target: ErasureTarget) -> bool:
        storage: Any = self.dagster.event_log_storage if self.dagster else None
        with storage.run_connection(run_id) as connection:
            query = sa.text("SELECT event FROM event_logs WHERE run_id = :run")
            events = connection.execute(query, {"run": run_id})
            return any(target.matches_value(str(event)) for (event,) in events)

    def _logs_contain_target(self, run_id: str, target: ErasureTarget) -> bool:
        files = (path for path in (self._folder / run_id).rglob("*") if path.is_file())
        return any(find_in_file(path, target) for path in files)

    def _cancel_run(self, run: dg.DagsterRun) -> None:
        assert self.dagster is not None
        # Set the tag first, because programs that wait for the run read it.
        self.dagster.add_run_tags(run.run_id, {ENDED_BY_TAG: ERASURE_TAG_VALUE})
        # A queued run has no worker, and a worker that has died cannot be terminated.
        is_alive = run.status != DagsterRunStatus.QUEUED
        if is_alive:
            try:
                is_alive = self.dagster.run_launcher.terminate(run.run_id)
            except DagsterUserCodeUnreachableError as error:
                raise TwinError(
                    f"end the run {run.run_id[:8]} of {run.job_name}",
                    found=f"Dagster's code server does not respond ({error})",
                    next_step="run `twin forget` again in a minute",
                ) from error
        if not is_alive:
            self.dagster.report_run_canceled(run)

    def _is_finished(self, run_id: str) -> bool:
        run = self.dagster.get_run_by_id(run_id) if self.dagster else None
        return run is None or run.is_finished

    def _open_storages(self) -> list[AbstractContextManager[Any]]:
        assert self.dagster is not None
        events: Any = self.dagster.event_log_storage
        runs: Any = self.dagster.run_storage
        schedules: Any = self.dagster.schedule_storage
        connections = [events.index_connection(), runs.connect(), schedules.connect()]
        folder = self._find_runs_folder()
        if folder and (folder / ".db").is_file():  # events recorded by a sensor belong to no run
            connections.append(events.run_connection(""))
        return connections

    @property
    def _folder(self) -> Path:
        """The folder of the instance's files, which include at least its logs; it may not exist."""
        return self.installation.settings.home / "dagster"

    def _find_runs_folder(self) -> Path | None:
        """Return the folder of the event files, or None if events are stored on a server."""
        folder = self._folder / "history" / "runs"
        return folder if folder.is_dir() else None


@contextmanager
def open_records(installation: Installation) -> Generator[DagsterRecords]:
    """Open the records of this home's Dagster, for callers outside a run."""
    home = installation.settings.home / "dagster"
    if not (home / "dagster.yaml").is_file():
        yield DagsterRecords(installation, None)
        return
    # dagster.yaml uses this variable as its folder. A shell sets it only with `source .twin/env`,
    # which may be the file of another home.
    former_home = os.environ.get("DAGSTER_HOME")
    os.environ["DAGSTER_HOME"] = str(home)
    try:
        with DagsterInstance.from_config(str(home)) as dagster:
            yield DagsterRecords(installation, dagster)
    finally:
        del os.environ["DAGSTER_HOME"]
        if former_home is not None:
            os.environ["DAGSTER_HOME"] = former_home


def _reflect_tables(connection: Any) -> list[sa.Table]:
    metadata = sa.MetaData()
    metadata.reflect(connection, only=lambda name, _: name in _TABLES)
    return list(metadata.sorted_tables)


def _find_tables_with_target(connection: Any, target: ErasureTarget) -> list[str]:
    return [
        table.name
        for table in _reflect_tables(connection)
        if any(target.matches_value(tuple(row)) for row in connection.execute(sa.select(table)))
    ]


def _erase_rows(connection: Any, target: ErasureTarget) -> int:
    erased_count = 0
    for table in _reflect_tables(connection):
        for row in connection.execute(sa.select(table)).mappings().all():
            if not target.matches_value(tuple(row.values())):
                continue
            is_this_row = table.c.id == row["id"]
            if table.name in _CLEARED_COLUMNS:
                null_values = dict.fromkeys(_CLEARED_COLUMNS[table.name])
                connection.execute(sa.update(table).where(is_this_row).values(**null_values))
            else:  # these rows include a sensor's cursor, which caches this project's own state
                connection.execute(sa.delete(table).where(is_this_row))
            erased_count += 1
    return erased_count
