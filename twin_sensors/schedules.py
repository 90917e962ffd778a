"""Run feedback, judgements and version comparisons every hour, and the cross-author marts daily.

Scope: times. Out of scope: the work of the jobs (`jobs.py`), runs started by events (the sensors).
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

import dagster as dg

from twin_resources.idempotent_launch import RunLaunch
from twin_resources.quality.ledger.interactions_frame import authors_answering
from twin_resources.quality.ledger.ledger_tables import open_tables
from twin_resources.registry.registry import Registry
from twin_resources.storage.state.state import State
from twin_sensors.dagster_run_records import DagsterRunRecords
from twin_sensors.jobs import (
    collect_feedback,
    compare_authors,
    compare_versions,
    judge_answers,
)
from twin_sensors.launchable_runs import LaunchClaims, launchable, request_of

# Longer than the interval between ticks, so that an answer read late by the ledger is not missed.
LOOKED_BACK = timedelta(hours=3)


@dg.schedule(
    job=collect_feedback,
    cron_schedule="5 * * * *",
    description="Starts `collect_feedback` for each author whose twin has answered in the last "
    "three hours: interactions, evidence and marts.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def collect_feedback_every_hour(
    context: dg.ScheduleEvaluationContext, state: dg.ResourceParam[State]
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Start `collect_feedback` for each author who has answered recently."""
    at = context.scheduled_execution_time
    wanted = launches_at(at, _answered_lately(at, state), kind="feedback")
    otherwise = f"nobody was asked in the {LOOKED_BACK} before {at:%H:%M}"
    claims = LaunchClaims(state, collect_feedback.name)
    yield from requested(context, wanted, claims, otherwise=otherwise)


@dg.schedule(
    job=judge_answers,
    cron_schedule="20 * * * *",  # after `collect_feedback_every_hour` has read the answers
    description="Starts `judge_answers` for each author whose twin has answered in the last three "
    "hours, or of whom an alarm waits for judges, and has no such run waiting behind a training.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def judge_answers_every_hour(
    context: dg.ScheduleEvaluationContext, state: dg.ResourceParam[State]
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Start `judge_answers` for each author with recent answers and no such run in progress.

    Judging shares a pool with trainings: behind a long training, hourly runs would accumulate.
    """
    at = context.scheduled_execution_time
    waiting = DagsterRunRecords(context.instance, job=judge_answers.name).in_flight()
    slugs = sorted({*_answered_lately(at, state)} - {*waiting})
    otherwise = f"no answer in the {LOOKED_BACK} before {at:%H:%M} waits for judges"
    claims = LaunchClaims(state, judge_answers.name)
    yield from requested(context, launches_at(at, slugs, kind="judge"), claims, otherwise=otherwise)


@dg.schedule(
    job=compare_versions,
    cron_schedule="40 * * * *",
    description="Starts `compare_versions` for each author with a version on trial as a shadow: "
    "a run makes pairs for a while, and this goes on until the trial has decided.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def compare_versions_every_hour(
    context: dg.ScheduleEvaluationContext, registry: dg.ResourceParam[Registry]
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Start `compare_versions` for each undecided trial without such a run in progress.

    The retraining that made a version makes its first pairs. Without this schedule, a trial that
    they left undecided would never end, and later candidates would wait behind it.
    """
    at = context.scheduled_execution_time
    trying = [
        author
        for author in registry.authors_on_trial()
        if registry.stable(author) is not None
        and any(item.state == "shadow" for item in registry.versions(author))
    ]
    waiting = DagsterRunRecords(context.instance, job=compare_versions.name).in_flight()
    slugs = [slug for slug in trying if slug not in waiting]
    otherwise = "no version is on trial as a shadow"
    claims = LaunchClaims(registry.state, compare_versions.name)
    wanted = launches_at(at, slugs, kind="compare")
    yield from requested(context, wanted, claims, otherwise=otherwise)


compare_authors_every_day = dg.ScheduleDefinition(
    name="compare_authors_every_day",
    description="Starts `compare_authors`: the marts over all authors.",
    job=compare_authors,
    cron_schedule="35 0 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)


def launches_at(at: datetime, slugs: Iterable[str], *, kind: str) -> list[RunLaunch]:
    """Return a run for each author, with the same key if the tick of this time is repeated."""
    return [RunLaunch(slug, f"{kind}:{slug}:{at.isoformat()}") for slug in slugs]


def requested(
    context: dg.ScheduleEvaluationContext,
    wanted: Sequence[RunLaunch],
    claims: LaunchClaims,
    *,
    otherwise: str,
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Yield the runs that Dagster can start; report the others, which the next tick requests again.

    Args:
        otherwise: the reason if no run is wanted.
    """
    ready, held = launchable(context.instance, wanted, claims=claims)
    yield from map(request_of, ready)
    if held:
        context.log.warning("\n".join(held))
    if not ready:
        yield dg.SkipReason("\n".join([*([] if wanted else [otherwise]), *held]))


def _answered_lately(at: datetime, state: State) -> Sequence[str]:
    """Return the authors with an answer in the last `LOOKED_BACK`."""
    open_tables(state)
    with state.reading() as connection:
        return authors_answering(connection, since=at - LOOKED_BACK)
