"""Schedule feedback, judging and comparisons every hour, and the cross-author marts every day.

Scope: when the jobs run, and requesting runs for any schedule.
Out of scope: the work of the jobs (`jobs.py`), and runs that events start (the sensors).
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

import dagster as dg

from twin_resources.idempotent_launch import RunLaunch
from twin_resources.quality.ledger.interactions_frame import authors_with_answers
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
from twin_sensors.launchable_runs import select_launchable, to_run_request

# Longer than the interval between ticks, so that answers that the ledger reads late are included.
LOOKBACK = timedelta(hours=3)


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
    """Start `collect_feedback` for each author whose twin has answered recently."""
    scheduled_at = context.scheduled_execution_time
    slugs = _find_recently_active_authors(scheduled_at, state)
    skip_message = f"no twin answered in the {LOOKBACK} before {scheduled_at:%H:%M}"
    yield from request_runs(
        context, state, collect_feedback.name, slugs, kind="feedback", skip_message=skip_message
    )


@dg.schedule(
    job=judge_answers,
    cron_schedule="20 * * * *",  # after `collect_feedback_every_hour` has read the answers
    description="Starts `judge_answers` for each author whose twin has answered in the last three "
    "hours and who has no such run queued or running.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def judge_answers_every_hour(
    context: dg.ScheduleEvaluationContext, state: dg.ResourceParam[State]
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Start `judge_answers` for each author with recent answers and no such run in progress.

    Judging shares a pool with training, so hourly runs would accumulate during a long training run.
    """
    scheduled_at = context.scheduled_execution_time
    in_flight = DagsterRunRecords(context.instance, job=judge_answers.name).in_flight_run_ids()
    slugs = sorted({*_find_recently_active_authors(scheduled_at, state)} - {*in_flight})
    skip_message = f"no new answer to judge in the {LOOKBACK} before {scheduled_at:%H:%M}"
    yield from request_runs(
        context, state, judge_answers.name, slugs, kind="judge", skip_message=skip_message
    )


@dg.schedule(
    job=compare_versions,
    cron_schedule="40 * * * *",
    description="Starts `compare_versions` every hour for each author with a shadow version on "
    "trial, until the trial is decided.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def compare_versions_every_hour(
    context: dg.ScheduleEvaluationContext, registry: dg.ResourceParam[Registry]
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Start `compare_versions` for each undecided trial without such a run in progress.

    The retraining that created a version also creates its first pairs. If these do not decide the
    trial, this schedule adds more; otherwise the trial would block later candidates forever.
    """
    authors_on_trial = [
        author
        for author in registry.authors_on_trial()
        if registry.stable_version(author) is not None
        and any(version.state == "shadow" for version in registry.versions(author))
    ]
    in_flight = DagsterRunRecords(context.instance, job=compare_versions.name).in_flight_run_ids()
    slugs = [slug for slug in authors_on_trial if slug not in in_flight]
    message = "no version is on trial as a shadow"
    yield from request_runs(
        context, registry.state, compare_versions.name, slugs, kind="compare", skip_message=message
    )


compare_authors_every_day = dg.ScheduleDefinition(
    name="compare_authors_every_day",
    description="Starts `compare_authors`, which computes the marts over all authors.",
    job=compare_authors,
    cron_schedule="35 0 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)


def request_runs(
    context: dg.ScheduleEvaluationContext,
    state: State,
    job: str,
    slugs: Iterable[str],
    *,
    kind: str,
    skip_message: str,
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Yield a request for each run that Dagster can start, and log why other runs must wait.

    Args:
        job: the name of the job.
        slugs: the authors that need a run.
        kind: the prefix of the run keys; a repeated tick of the same time requests the same keys.
        skip_message: the reason to skip if `slugs` is empty.
    """
    scheduled_at = context.scheduled_execution_time.isoformat()
    launches = [RunLaunch(slug, f"{kind}:{slug}:{scheduled_at}") for slug in slugs]
    ready_launches, held_messages = select_launchable(
        context.instance, launches, state=state, job=job
    )
    yield from map(to_run_request, ready_launches)
    if held_messages:
        context.log.warning("\n".join(held_messages))
    if not ready_launches:
        yield dg.SkipReason("\n".join([*([] if launches else [skip_message]), *held_messages]))


def _find_recently_active_authors(now: datetime, state: State) -> Sequence[str]:
    """Return the slugs of the authors whose twins have answered within `LOOKBACK`."""
    open_tables(state)
    with state.read_transaction() as connection:
        return authors_with_answers(connection, since=now - LOOKBACK)
