"""Represent Dagster runs and their log lines as values.

Scope: parsing GraphQL rows into frozen values, and the `progress {json}` lines in which
training and other long steps report.
Out of scope: requesting the rows (`dagster_http.py`).
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import quote

CODE_LOCATION = "llm-twin"  # the name of the code location in `workspace.yaml`
IN_PROGRESS_STATUSES = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")
STATUSES_WITH_WORKER = ("STARTING", "STARTED", "CANCELING")
DECIDED_LATER_KEY = "follows"  # metadata key of a check that another asset decides later
FINISHED_STATUSES = ("SUCCESS", "FAILURE", "CANCELED")
ENDED_BY_TAG = "twin/ended_by"  # tag of a canceled run
ERASURE_TAG_VALUE = "forget"  # value of that tag for erasures
# The groups are in the order of the graph. They are defined in this module because the command line
# does not import assets.
ASSET_GROUPS = (
    "corpus",
    "knowledge",
    "instructions",
    "training",
    "evaluation",
    "serving",
    "feedback",
    "analytics",
)

# Fields that a query must request so that `parse_run` can read the row.
RUN_FIELDS = "runId jobName status creationTime startTime endTime tags { key value }"


def build_lineage_link(url: str) -> str:
    """Return the address of the whole asset graph with its groups expanded.

    By default, Dagster collapses the eight groups into boxes that show no assets. It reads the
    expanded groups only from the address.

    Args:
        url: the address of the webserver, without a path.
    """
    groups = ",".join(f"global@global:{group}" for group in ASSET_GROUPS)
    return f"{url.rstrip('/')}/asset-groups?expanded={quote(groups, safe='')}"


@dataclass(frozen=True)
class Run:
    """One run; times are seconds since the epoch, and `status` is Dagster's value."""

    run_id: str
    job: str
    status: str
    created: float
    started: float | None
    ended: float | None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED_STATUSES

    @property
    def retry_run_id(self) -> str:
        """Id of the run that replaced this run after its worker died, or ""."""
        return self.tags.get("dagster/auto_retry_run_id", "")

    @property
    def will_be_retried(self) -> bool:
        return self.status == "FAILURE" and self.tags.get("dagster/will_retry") == "true"

    @property
    def was_ended_by_erasure(self) -> bool:
        """Whether `twin forget` canceled the run, which could have restored erased data."""
        return self.status == "CANCELED" and self.tags.get(ENDED_BY_TAG) == ERASURE_TAG_VALUE


@dataclass(frozen=True)
class Event:
    """One line of a run's log.

    Attributes:
        kind: the GraphQL type name (`LogMessageEvent`, `ExecutionStepStartEvent` …).
        message: the text of the line.
        step: the step key, or empty.
        timestamp: seconds since the epoch.
        errors: messages from the outermost error to its first cause.
        asset: the key of a materialized asset, or empty.
        numbers: the whole numbers in the materialization's metadata.
        check: the name of an evaluated asset check, or empty.
        passed: the check's result.
        is_warning: whether the check, if it failed, stops nothing (severity WARN).
    """

    kind: str
    message: str
    step: str
    timestamp: float
    errors: tuple[str, ...] = ()
    asset: str = ""
    check: str = ""
    passed: bool | None = None
    is_warning: bool = False
    numbers: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def progress(self) -> dict[str, Any] | None:
        """The report in a `progress {json}` line, or None for any other line."""
        start = self.message.find("progress {")
        if start < 0:
            return None
        try:
            report = json.loads(self.message[start + len("progress ") :])
        except json.JSONDecodeError:
            return None  # the line only happens to contain these characters
        return cast("dict[str, Any]", report) if isinstance(report, dict) else None


def parse_run(row: Mapping[str, Any]) -> Run:
    """Return a run from a GraphQL row with `RUN_FIELDS`."""
    return Run(
        run_id=row["runId"],
        job=row["jobName"],
        status=row["status"],
        created=row["creationTime"],
        started=row["startTime"],
        ended=row["endTime"],
        tags={tag["key"]: tag["value"] for tag in row["tags"]},
    )


def parse_event(row: Mapping[str, Any]) -> Event:
    """Return a log line of a run from a GraphQL row of `logsForRun`."""
    error = row.get("error")
    messages: list[str] = []
    if error:
        messages = [error["message"].strip()]
        messages += [link["error"]["message"].strip() for link in error["errorChain"]]
    asset_key: Mapping[str, Any] = row.get("assetKey") or {}
    evaluation: Mapping[str, Any] = row.get("evaluation") or {}
    return Event(
        kind=row["__typename"],
        message=row.get("message") or "",
        step=row.get("stepKey") or "",
        timestamp=float(row.get("timestamp") or 0) / 1000,
        errors=tuple(messages),
        asset="/".join(asset_key.get("path", ())),
        check=evaluation.get("checkName", ""),
        passed=evaluation.get("success"),
        is_warning=evaluation.get("severity") == "WARN",
        numbers={
            entry["label"]: entry["intValue"]
            for entry in row.get("metadataEntries") or ()
            if isinstance(entry.get("intValue"), int)
        },
    )
