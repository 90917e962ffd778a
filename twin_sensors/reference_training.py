"""When the adapter of other authors is trained: hours after a release, and when nothing waits.

Scope: the shell between Dagster and the job `train_reference`, and when it may run.
Out of scope: whether there is such an adapter (given to `build`: the assets' floor knows),
training it (`twin_assets/evaluation/other_authors`).

Nobody waits for it, and everybody waits for a retraining, with which it shares a pool. So it comes
after an author's first release, one author at a time, while no retraining is queued or runs.
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

# The first hours are the readers': who has just set up a twin asks it, imports, trains again.
AFTER_RELEASE = timedelta(hours=3)
BETWEEN_TRIES = timedelta(days=1)  # what fails each hour would train each hour


def build(wanted: Callable[[Author, Settings], bool]) -> dg.ScheduleDefinition:
    """The schedule.

    Args:
        wanted: whether the adapter is to be trained for an author and is not there.
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
        """The adapter of the first author who wants one, when nothing waits."""
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
            with isolate_failure(author.slug, lines.append):  # a base model that is missing, say
                if wanted(author, settings):
                    chosen = [launch]
                    break
                lines.append(f"{author.slug}: there is one, or none is wanted")
        message = "\n".join(lines) or "no author"
        claims = LaunchClaims(registry.state, train_reference.name)
        yield from requested(context, chosen, claims, otherwise=message)

    return train_reference_every_hour


def _stable_since(registry: Registry, author: str) -> datetime | None:
    """When the version that answers became stable; None: none does that was trained here."""
    stable = registry.stable(author)
    if stable is None or stable.is_answer_model:
        return None
    moves = [move for move in registry.moves(author) if move.version == stable.version]
    return datetime.fromisoformat(moves[-1].moved_at)
