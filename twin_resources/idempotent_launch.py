"""Decide the next step so that each reason gets exactly one run, from Dagster's runs.
Scope: a run to be started, as a value; the decision, as a pure function of the runs with
a reason's key.
Out of scope: reasons and their records (retrainings are rows of
`quality/retraining/retrainings.py`, an import's are its sensor's cursor and the row of its feeds,
`storage/sources/arrivals.py`; of an erasure its journal), asking Dagster
(`twin_sensors/dagster_run_records.py`), creating runs (Dagster's daemon does).

Whoever starts runs by itself gives each reason a key, remembers it before its run is asked for, and
asks here at every look. Dagster starts no key of a sensor twice, so:

- a daemon killed between decision and launch, a launch that was lost: no run carries the key, and
  it is offered again, under the same key;
- killed between launch and cursor: a run carries the key, and Dagster passes over the second;
- two daemons, or two code locations, look for the run in the same second and both miss it: each
  launch is claimed in the state store (`twin_sensors/launchable_runs.py`; a training by its own
  row), and who comes second looks again after a grace;
- a run that failed is tried under another key, which has the attempt in it, since its own is spent;
- a worker that died is not a failure yet: Dagster starts that run again by itself;
- a run that `twin forget` ended is tried again like one that failed;
- a run whose record was deleted, once it was seen, is what a person wanted gone.

A schedule needs the claim alone: Dagster knows its ticks by their time, and repeats one that died.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from twin_resources.dagster_runs import Run

Step = Literal["offer", "wait", "retry", "passed", "failed", "canceled", "gone"]

# Dagster starts a replacement some seconds after a worker's death; after this time none will
# follow, although the record announces one.
_RESTARTED_WITHIN_S = 120.0


@dataclass(frozen=True)
class RunLaunch:
    """A run to be started.

    Attributes:
        author: partition key; empty for a job without partitions.
        run_key: at most one run each.
        config: of the run.
    """

    author: str
    run_key: str
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])


def next_step(
    runs: Sequence[Run],
    *,
    now: float,
    attempt: int = 1,
    attempts: int = 1,
    retry_after_s: float = 0.0,
    was_seen: bool = False,
) -> Step:
    """Decide the next step from the runs of one attempt.

    Args:
        runs: those that carry its key, newest first; the ones that Dagster started in place of one
            whose worker had died are among them.
        now: seconds since the epoch.
        attempt, attempts: which this is, from 1, and how many there may be.
        retry_after_s: between a failure and the next attempt; 0: at once, whatever the clocks say.
        was_seen: an earlier look has found its run.

    Returns:
        `offer`: its run is to be asked for; `wait`: it is at work, or the next attempt has time;
        `retry`: the next attempt is to be offered; the others are how it has ended, `gone` when the
        record of the run that was seen is deleted.
    """
    if any(not run.is_finished or _dagster_restarts(run, now) for run in runs):
        return "wait"
    if not runs:
        return "gone" if was_seen else "offer"
    newest = runs[0]
    if newest.status == "SUCCESS":
        return "passed"
    if newest.status == "CANCELED" and not (newest.was_ended_by_erasure and attempt < attempts):
        return "canceled"
    if attempt >= attempts:
        return "failed"
    return "wait" if retry_after_s and now < _ended(newest) + retry_after_s else "retry"


def _dagster_restarts(run: Run, now: float) -> bool:
    """Return whether Dagster will replace this run, whose worker died, by a new one."""
    return run.will_be_retried and not run.retry_run_id and now - _ended(run) < _RESTARTED_WITHIN_S


def _ended(run: Run) -> float:
    return run.created if run.ended is None else run.ended
