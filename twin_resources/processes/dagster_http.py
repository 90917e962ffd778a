"""Control a running Dagster webserver over HTTP: GraphQL, and REST to report materializations.

Scope: partitions; launching, reading and ending runs; reporting a registry move as a
materialization.
Out of scope: the data types of runs and events (`dagster_runs.py`), displaying them
(`twin_cli/commands/`), the jobs (`twin_sensors/jobs.py`).
Source: https://docs.dagster.io/api/graphql, schema of dagster-webserver 1.13

The command line does not import dagster, because the import takes two CPU seconds and the instance
belongs to the daemon.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from twin_resources.dagster_runs import (
    CODE_LOCATION,
    RUN_FIELDS,
    Event,
    Run,
    parse_event,
    parse_run,
)
from twin_resources.errors import TwinError
from twin_resources.processes.endpoints import urls
from twin_resources.settings import Settings, load_secrets
from twin_resources.wait_limits import MAX_WORKING_S

REPOSITORY = "__repository__"
PARTITIONS = "authors"
PARTITION_TAG = "dagster/partition"
UNREACHABLE_ERROR_CLASS = "DagsterUserCodeUnreachableError"  # in Dagster's response
_DISK_ERRORS = ("disk I/O error", "disk is full", "unable to open database file", "No space left")
MIN_FREE_BYTES = 1 << 20  # a run's first records take a few hundred kilobytes


class DagsterHTTP:
    """A client of one webserver.

    Args:
        url: URL of the webserver, without a path.
        key: admin key of the home; empty for a webserver that requires no key.
        timeout_s: timeout of a request. It is long because a webserver may load the code first. A
            dead webserver is detected at once.
        folder: folder of Dagster's records, used to explain a failed write; None if unknown.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str = "",
        timeout_s: float = MAX_WORKING_S,
        folder: Path | None = None,
    ) -> None:
        self._folder = folder
        self.url = url.rstrip("/")
        self._client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=timeout_s,
            trust_env=False,  # a proxy variable must not affect requests to loopback
        )

    @classmethod
    def for_home(cls, settings: Settings, *, timeout_s: float = MAX_WORKING_S) -> DagsterHTTP:
        """Create a client for the webserver of a home's stack."""
        key = load_secrets(settings).gateway_master_key
        folder = settings.home / "dagster"
        return cls(urls(settings)["dagster"], key=key, timeout_s=timeout_s, folder=folder)

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def launch_lock(self) -> Generator[None]:
        """Allow only one process of a home at a time to look for a run and launch one.

        Otherwise, two `twin up` commands in the same second would each launch a run. A client
        without a folder does not lock.
        """
        if self._folder is None or not self._folder.is_dir():
            yield
            return
        descriptor = os.open(self._folder, os.O_RDONLY)  # a separate lock file needs disk space
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # the holder's requests have a timeout
            yield
        finally:
            os.close(descriptor)

    def is_up(self, *, within_s: float = 2.0) -> bool:
        """Return whether the webserver responds; its code location may still be loading.

        Args:
            within_s: timeout in seconds; a closed port fails at once.
        """
        try:
            return self._client.get("/server_info", timeout=within_s).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def is_location_loaded(self) -> bool:
        """Return whether the code location has loaded.

        Raises:
            TwinError: the code cannot be imported; the error gives the reason.
        """
        data = self._query(
            """query { workspaceOrError { __typename
              ... on PythonError { message }
              ... on Workspace { locationEntries { name loadStatus locationOrLoadError {
                __typename ... on PythonError { message className } } } } } }""",
            action="list Dagster's code locations",
        )
        for entry in data.get("locationEntries", ()):
            outcome = entry["locationOrLoadError"] or {}
            if outcome.get("className") == UNREACHABLE_ERROR_CLASS:
                return False  # the code server is starting or restarting
            if outcome.get("__typename") == "PythonError":
                raise TwinError(
                    f"load the code location {entry['name']}",
                    found=outcome["message"].strip(),
                    next_step="correct the code and run `twin up` again",
                )
            if entry["name"] == CODE_LOCATION:
                return entry["loadStatus"] == "LOADED" and bool(outcome)
        return False

    def add_author(self, slug: str) -> None:
        """Add the author's partition unless it already exists."""
        self._query(
            """mutation($key: String!, $selector: RepositorySelector!, $name: String!) {
              addDynamicPartition(
                partitionKey: $key, partitionsDefName: $name, repositorySelector: $selector) {
                __typename ... on Error { message } } }""",
            {"key": slug, "name": PARTITIONS, "selector": _repository_selector()},
            action=f"add the author {slug} to Dagster",
            expected_types=("AddDynamicPartitionSuccess", "DuplicateDynamicPartitionError"),
        )

    def launch(
        self,
        job: str,
        author: str,
        *,
        tags: Mapping[str, str] | None = None,
        config: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> str:
        """Launch a job on an author's partition; return the run id.

        Args:
            author: author slug; empty for a job without partitions.
            config: values that differ from the defaults, by asset.

        Raises:
            TwinError: Dagster refused the launch; the error gives the reason.
        """
        all_tags = ({PARTITION_TAG: author} if author else {}) | dict(tags or {})
        result = self._query(
            """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
              __typename
              ... on LaunchRunSuccess { run { runId } }
              ... on Error { message }
              ... on RunConfigValidationInvalid { errors { message } } } }""",
            {
                "params": {
                    "selector": {
                        "jobName": job,
                        "repositoryName": REPOSITORY,
                        "repositoryLocationName": CODE_LOCATION,
                    },
                    "runConfigData": {
                        "ops": {
                            asset: {"config": values} for asset, values in (config or {}).items()
                        }
                    },
                    "executionMetadata": {
                        "tags": [{"key": key, "value": text} for key, text in all_tags.items()]
                    },
                }
            },
            action=f"launch the job {job} for {author}",
            expected_types=("LaunchRunSuccess",),
        )
        return result["run"]["runId"]

    def read_run(self, run_id: str) -> Run:
        """Read one run.

        Raises:
            TwinError: Dagster has no such run.
        """
        result = self._query(
            f"""query($id: ID!) {{ runOrError(runId: $id) {{
              __typename ... on Run {{ {RUN_FIELDS} }} ... on Error {{ message }} }} }}""",
            {"id": run_id},
            action=f"read the run {run_id}",
            expected_types=("Run",),
        )
        return parse_run(result)

    def list_runs(
        self,
        *,
        job: str = "",
        author: str = "",
        statuses: Collection[str] = (),
        updated_before: float | None = None,
        limit: int = 50,
    ) -> list[Run]:
        """List the matching runs, newest first.

        Args:
            updated_before: seconds since the epoch; runs updated later are omitted.
        """
        run_filter: dict[str, Any] = {}
        if job:
            run_filter["pipelineName"] = job
        if author:
            run_filter["tags"] = [{"key": PARTITION_TAG, "value": author}]
        if statuses:
            run_filter["statuses"] = list(statuses)
        if updated_before is not None:
            run_filter["updatedBefore"] = updated_before
        result = self._query(
            f"""query($filter: RunsFilter!, $limit: Int!) {{
              runsOrError(filter: $filter, limit: $limit) {{
                __typename ... on Runs {{ results {{ {RUN_FIELDS} }} }}
                ... on Error {{ message }} }} }}""",
            {"filter": run_filter, "limit": limit},
            action="list the runs",
            expected_types=("Runs",),
        )
        return [parse_run(row) for row in result["results"]]

    def events(self, run_id: str, *, cursor: str | None = None) -> tuple[list[Event], str | None]:
        """Return the events of a run after a cursor, and the next cursor."""
        result = self._query(
            """query($id: ID!, $after: String) {
              logsForRun(runId: $id, afterCursor: $after, limit: 500) {
                __typename ... on EventConnection { cursor events { __typename
                  ... on MessageEvent { message stepKey timestamp }
                  ... on ErrorEvent { error { message errorChain { error { message } } } }
                  ... on MaterializationEvent { assetKey { path }
                    metadataEntries { label ... on IntMetadataEntry { intValue } } }
                  ... on AssetCheckEvaluationEvent { evaluation { checkName success severity } } } }
                ... on Error { message } } }""",
            {"id": run_id, "after": cursor},
            action=f"read the log of the run {run_id}",
            expected_types=("EventConnection",),
        )
        return [parse_event(row) for row in result["events"]], result["cursor"]

    def is_sensor_running(self, name: str) -> bool:
        """Return whether a sensor is running."""
        result = self._query(
            """query($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) {
              __typename ... on Sensor { sensorState { status } } ... on Error { message } } }""",
            {"selector": _repository_selector() | {"sensorName": name}},
            action=f"read the state of the sensor {name}",
            expected_types=("Sensor",),
        )
        return result["sensorState"]["status"] == "RUNNING"

    def end_run(self, run_id: str) -> str:
        """End a run and mark it as canceled at once; return "" or the reason for a failure.

        A run in `STARTING` is only marked. Its worker gets no signal. If the worker has already
        read the run, it continues and sets `STARTED` again. A caller that needs the run to end must
        wait for `STARTED` first. Stopping the stack also ends the workers.
        """
        result = self._query(
            """mutation($id: String!) {
              terminateRun(runId: $id, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) {
                __typename ... on TerminateRunFailure { message } ... on Error { message } } }""",
            {"id": run_id},
            action=f"end the run {run_id}",
        )
        return "" if result["__typename"] == "TerminateRunSuccess" else result.get("message", "")

    def report_materialization(
        self, asset: str, author: str, *, description: str, metadata: Mapping[str, Any]
    ) -> None:
        """Record a change made outside a run in Dagster, such as a move in the registry."""
        action = f"record the change to {asset} in Dagster"
        body = {"partition": author, "description": description, "metadata": dict(metadata)}
        try:
            response = self._client.post(f"/report_asset_materialization/{asset}", json=body)
        except httpx.TransportError as error:
            raise self._unreachable_error(action, error) from error
        if response.status_code != httpx.codes.OK:
            raise TwinError(action, found=response.text[:300], next_step="record it in the UI")

    def _query(
        self,
        query: str,
        variables: Mapping[str, Any] | None = None,
        *,
        action: str,
        expected_types: Collection[str] = (),
    ) -> dict[str, Any]:
        """Return the value of a query's only field.

        Args:
            action: the attempted action, which an error names.
            expected_types: permitted GraphQL types of the value; empty permits every type.

        Raises:
            TwinError: the webserver does not respond, or the value has another type.
        """
        body = {"query": query, "variables": dict(variables or {})}
        try:
            response = self._client.post("/graphql", json=body)
        except httpx.TransportError as error:
            raise self._unreachable_error(action, error) from error
        if "application/json" not in response.headers.get("content-type", ""):
            raise TwinError(
                action,
                found=f"{self.url} returned HTTP {response.status_code} without JSON",
                next_step="see dagster-webserver.log in the logs folder",
            )
        document = response.json()
        if document.get("errors"):
            raise self._rejection_error(
                action,
                str(document["errors"][0].get("message", document["errors"][0])),
                "see dagster-webserver.log in the logs folder",
            )
        [result] = document["data"].values()
        if expected_types and result["__typename"] not in expected_types:
            details: Sequence[Mapping[str, str]] = result.get("errors") or ()
            reasons = [result.get("message", ""), *(detail["message"] for detail in details)]
            raise self._rejection_error(
                action,
                f"{result['__typename']}: {' '.join(filter(None, reasons)).strip()}",
                "see the deployment page of the Dagster UI",
            )
        return result

    def _unreachable_error(self, action: str, error: httpx.TransportError) -> TwinError:
        return TwinError(
            action,
            found=f"{self.url} does not answer ({type(error).__name__})",
            next_step="see `twin status`; start the stack with `twin up`",
        )

    def _rejection_error(self, action: str, found: str, next_step: str) -> TwinError:
        """Return the error for a response; for a full disk, explain Dagster's `disk I/O error`."""
        if self._folder is not None and any(words in found for words in _DISK_ERRORS):
            free_bytes = shutil.disk_usage(self._folder).free
            if free_bytes < MIN_FREE_BYTES:
                found = f"no space left on the disk of {self._folder}"
                next_step = "free space there and try again; the stored data is unchanged"
        return TwinError(action, found=found, next_step=next_step)


def _repository_selector() -> dict[str, str]:
    return {"repositoryName": REPOSITORY, "repositoryLocationName": CODE_LOCATION}
