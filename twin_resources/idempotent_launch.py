"""Decide from Dagster's runs whether to launch, wait or retry: each attempt gets at most one run.

Scope: `RunLaunch`, and the decision as a pure function of one attempt's runs.
Out of scope: querying Dagster (`twin_sensors/dagster_run_records.py`), creating runs (Dagster's
daemon), and the records of reasons:

- a retraining's row (`quality/retraining/retrainings.py`),
- an import's decision (`storage/sources/import_decisions.py`) and its sensor's cursor,
- an erasure's journal (`erasure/journal.py`).

Each component that starts runs automatically gives each reason a key, records it before requesting
the run, and calls `decide_step` on every check. Dagster never starts two runs for one key of a
sensor. This covers the following cases:

- The daemon was killed between decision and launch, or a launch was lost: no run has the key, so
  the run is requested again under the same key.
- The daemon was killed between launch and cursor: a run has the key, and Dagster skips the second.
- Two daemons, or two code locations, look for the run in the same second and both miss it. Each
  launch is claimed in the state store (`twin_sensors/launchable_runs.py`; a retraining in its own
  row), and the second process checks again after a grace period.
- A run failed: its key is used up, so it is retried under another key that includes the attempt.
- A worker died: this is not yet a failure, because Dagster restarts that run.
- `twin forget` canceled a run: it is retried like a failed run.
- A run was seen and its record was then deleted: a person removed it intentionally.

A schedule needs only the claim: Dagster identifies ticks by their time and repeats a lost tick.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from twin_resources.dagster_runs import Run

Step = Literal["launch", "wait", "retry", "passed", "failed", "canceled", "gone"]

# Dagster starts a replacement some seconds after a worker's death. After this time no replacement
# will follow, even if the record announces one.
_RESTART_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class RunLaunch:
    """A run to be started.

    Attributes:
        author: the partition key; empty for a job without partitions.
        run_key: the key for at most one run.
        tags: the run's tags.
        config: the run's configuration.
    """

    author: str
    run_key: str
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])


def decide_step(
    runs: Sequence[Run],
    *,
    now: float,
    attempt: int = 1,
    max_attempts: int = 1,
    retry_after_s: float = 0.0,
    was_seen: bool = False,
) -> Step:
    """Decide the next step from the runs of one attempt.

    Args:
        runs: the runs with the attempt's key, newest first, including those that Dagster started
            to replace a run whose worker had died.
        now: seconds since the epoch.
        attempt, max_attempts: the attempt's number, from 1, and the maximum number of attempts.
        retry_after_s: the delay between a failure and the next attempt; 0 retries at once,
            even if the hosts' clocks differ.
        was_seen: whether an earlier check found the attempt's run.

    Returns:
        `launch` to request the attempt's run; `wait` while it is in progress or the next
        attempt is not due; `retry` to request the next attempt. The other values are outcomes;
        `gone` means that a run was seen and its record has since been deleted.
    """
    if any(not run.is_finished or _will_be_restarted(run, now) for run in runs):
        return "wait"
    if not runs:
        return "gone" if was_seen else "launch"
    newest_run = runs[0]
    if newest_run.status == "SUCCESS":
        return "passed"
    if newest_run.status == "CANCELED" and not (
        newest_run.was_ended_by_erasure and attempt < max_attempts
    ):
        return "canceled"
    if attempt >= max_attempts:
        return "failed"
    return "wait" if retry_after_s and now < _run_end_time(newest_run) + retry_after_s else "retry"


def _will_be_restarted(run: Run, now: float) -> bool:
    """Return whether Dagster will replace this run, whose worker died, with a new one."""
    return (
        run.will_be_retried
        and not run.retry_run_id
        and now - _run_end_time(run) < _RESTART_TIMEOUT_S
    )


def _run_end_time(run: Run) -> float:
    return run.created if run.ended is None else run.ended
