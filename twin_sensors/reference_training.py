"""Schedule the training of the other-authors adapter: hours after a release, if nothing waits.

Scope: the code between Dagster and the job `train_reference`, and the times when it may run.
Out of scope: whether such an adapter exists (the asset package passes this to `build`), training
it (`twin_assets/evaluation/other_authors`).

This training is not urgent, but a retraining is, and both share a pool. It therefore runs after an
author's first release, for one author at a time, while no retraining is queued or running.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import dagster as dg

from twin_resources.authors import Author, readable_authors
from twin_resources.idempotent_launch import RunLaunch
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.isolating import isolate_failure
from twin_sensors.dagster_run_records import DagsterRunRecords
from twin_sensors.jobs import retrain_twin, train_reference
from twin_sensors.launchable_runs import LaunchClaims, launchable
from twin_sensors.schedules import launches_at, requested

# The first hours are left for use: a person who has just set up a twin asks, imports and retrains.
AFTER_RELEASE = timedelta(hours=3)
BETWEEN_TRIES = timedelta(days=1)  # otherwise a failing training would run every hour


def build(wanted: Callable[[Author, Settings], bool]) -> dg.ScheduleDefinition:
    """Return the schedule.

    Args:
        wanted: function that returns whether an author's adapter is required and missing.
    """

    @dg.schedule(
        name="train_reference_every_hour",
        job=train_reference,
        cron_schedule="50 * * * *",
        description="Starts `train_reference` for one author whose version has been stable for "
        "three hours and who has no adapter of other authors yet, while no retraining waits or "
        "runs; once a day at most. TWIN_REFERENCE_ADAPTER=off ends it.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def train_reference_every_hour(
        context: dg.ScheduleEvaluationContext,
        settings: dg.ResourceParam[Settings],
        registry: dg.ResourceParam[Registry],
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        """Start the training for the first author who needs one, if no other training waits."""
        at = context.scheduled_execution_time
        own = DagsterRunRecords(context.instance, job=train_reference.name)
        retraining = DagsterRunRecords(context.instance, job=retrain_twin.name)
        if busy := sorted({*own.in_flight(), *retraining.in_flight()}):
            yield dg.SkipReason(f"a training of {', '.join(busy)} waits or runs")
            return
        authors, lines = readable_authors(settings)
        by_slug = {author.slug: author for author in authors}
        ready, held = launchable(context.instance, launches_at(at, by_slug, kind="reference"))
        lines += held
        chosen: list[RunLaunch] = []
        for launch in ready:
            author = by_slug[launch.author]
            since = _stable_since(registry, author.slug)
            if since is None or since > at - AFTER_RELEASE:
                lines.append(f"{author.slug}: no version has been stable for {AFTER_RELEASE}")
                continue
            if own.of_author(author.slug, since=(at - BETWEEN_TRIES).timestamp()):
                lines.append(f"{author.slug}: tried less than {BETWEEN_TRIES} ago")
                continue
            with isolate_failure(author.slug, lines.append):  # such as a missing base model
                if wanted(author, settings):
                    chosen = [launch]
                    break
                lines.append(f"{author.slug}: there is one, or none is wanted")
        message = "\n".join(lines) or "no author"
        claims = LaunchClaims(registry.state, train_reference.name)
        yield from requested(context, chosen, claims, otherwise=message)

    return train_reference_every_hour


def _stable_since(registry: Registry, author: str) -> datetime | None:
    """Return when the current version became stable, or None without one that was trained here."""
    stable = registry.stable(author)
    if stable is None or stable.is_answer_model:
        return None
    moves = [move for move in registry.moves(author) if move.version == stable.version]
    return datetime.fromisoformat(moves[-1].moved_at)
