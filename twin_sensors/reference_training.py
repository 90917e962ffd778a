"""Schedule training of the other-authors adapter, hours after a release and while no run waits.

Scope: the code between Dagster and the job `train_reference`, and the times when that job may run.
Out of scope: whether an adapter is needed (the asset package passes this to `build_schedule`),
and training it (`twin_assets/evaluation/other_authors`).

This training is not urgent, but retrainings are, and both share a pool. It therefore runs for one
author at a time, after the author's first release, and only while no retraining is in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import dagster as dg

from twin_resources.authors import Author, list_readable_authors
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.failure_isolation import isolate_failure
from twin_sensors.dagster_run_records import DagsterRunRecords
from twin_sensors.jobs import retrain_twin, train_reference
from twin_sensors.launchable_runs import PARTITIONS
from twin_sensors.schedules import request_runs

# In the first hours after setting up a twin, the user needs the machine to import and retrain.
MIN_STABLE_TIME = timedelta(hours=3)
RETRY_INTERVAL = timedelta(days=1)  # a failing training run must not repeat every hour


def build_schedule(needs_adapter: Callable[[Author, Settings], bool]) -> dg.ScheduleDefinition:
    """Return the schedule `train_reference_every_hour`.

    Args:
        needs_adapter: returns whether an author's adapter is required and missing.
    """

    @dg.schedule(
        name="train_reference_every_hour",
        job=train_reference,
        cron_schedule="50 * * * *",
        description="Starts `train_reference` for one author whose version has been stable for "
        "three hours and who has no adapter of other authors yet, while no retraining is waiting "
        "or running; at most once a day. TWIN_REFERENCE_ADAPTER=off turns it off.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def train_reference_every_hour(
        context: dg.ScheduleEvaluationContext,
        settings: dg.ResourceParam[Settings],
        registry: dg.ResourceParam[Registry],
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        """Start training for the first author who needs it, unless another run is in flight."""
        scheduled_at = context.scheduled_execution_time
        reference_runs = DagsterRunRecords(context.instance, job=train_reference.name)
        retraining_runs = DagsterRunRecords(context.instance, job=retrain_twin.name)
        if busy_authors := sorted(
            {*reference_runs.in_flight_run_ids(), *retraining_runs.in_flight_run_ids()}
        ):
            yield dg.SkipReason(
                f"a training run for {', '.join(busy_authors)} is waiting or running"
            )
            return
        authors, messages = list_readable_authors(settings)
        known_slugs = set(context.instance.get_dynamic_partitions(PARTITIONS))
        unknown_slugs = [author.slug for author in authors if author.slug not in known_slugs]
        messages += [f"{slug}: Dagster has no such partition" for slug in unknown_slugs]
        slugs: list[str] = []
        for author in authors:
            if author.slug in unknown_slugs:
                continue
            stable_since = _find_stable_since(registry, author.slug)
            if stable_since is None or stable_since > scheduled_at - MIN_STABLE_TIME:
                messages.append(f"{author.slug}: no version has been stable for three hours")
                continue
            if reference_runs.runs_of_author(
                author.slug, since=(scheduled_at - RETRY_INTERVAL).timestamp()
            ):
                messages.append(f"{author.slug}: training was attempted in the last 24 hours")
                continue
            with isolate_failure(author.slug, messages.append):  # for example, a missing base model
                if needs_adapter(author, settings):
                    slugs = [author.slug]
                    break
                messages.append(f"{author.slug}: already has an adapter, or needs none")
        message = "\n".join(messages) or "no author"
        yield from request_runs(
            context,
            registry.state,
            train_reference.name,
            slugs,
            kind="reference",
            skip_message=message,
        )

    return train_reference_every_hour


def _find_stable_since(registry: Registry, author: str) -> datetime | None:
    """Return when the stable version became stable; None without one or for an answer model."""
    stable_version = registry.stable_version(author)
    if stable_version is None or stable_version.is_answer_model:
        return None
    moves = [move for move in registry.moves(author) if move.version == stable_version.version]
    return datetime.fromisoformat(moves[-1].moved_at)
