"""Define the sensor `quality_dropped`, which starts at most one retraining per detector alarm.

Scope: the code between Dagster and `retraining.quality_tick.run_tick`.
Out of scope: reading scores, decisions and storage (`twin_resources/quality/retraining`).
Method: deploy/docs/loop-explained.md.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import dagster as dg

from twin_resources.authors import read_author
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.quality.ledger.ledger import Ledger
from twin_resources.quality.retraining.quality_tick import run_tick
from twin_resources.quality.retraining.retraining_rules import (
    limits_for_author,
    rules_from_settings,
)
from twin_resources.quality.retraining.training_inputs import TrainingInputs
from twin_resources.quality.retraining.training_launches import TickResult, TickServices
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_sensors.dagster_run_records import DagsterRunRecords
from twin_sensors.jobs import retrain_twin
from twin_sensors.launchable_runs import select_launchable, to_run_request

# The maximum in a tick's message; the asset `quality_evidence` contains all authors.
MAX_SHOWN_AUTHORS = 25


@dg.sensor(
    job=retrain_twin,
    description="Starts `retrain_twin` when scores have fallen below the stable version's "
    "certified level, at most once per alarm. If automatic retraining is off, a drop is only "
    "reported. A tick without a run reports how far each detector is from its threshold.",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,  # a drop is reported even without automatic runs
)
def quality_dropped(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[Registry],
    training_inputs: dg.ResourceParam[TrainingInputs],
) -> dg.SensorResult:
    """Start a retraining if scores fell below the level certified for the stable version."""
    return evaluate_loop(context, settings, registry, training_inputs, run_tick)


def evaluate_loop(
    context: dg.SensorEvaluationContext,
    settings: Settings,
    registry: Registry,
    training_inputs: TrainingInputs,
    run: Callable[..., TickResult],
) -> dg.SensorResult:
    """Run one tick; return its run requests, or a skip reason with the numbers.

    Args:
        run: runs one tick; it gets a `TickServices` and the keyword `now`.
    """
    with LangfuseClient.from_settings(settings) as client:
        services = TickServices(
            state=registry.state,
            ledger=Ledger.for_home(settings, registry.state, client),
            registry=registry,
            inputs=training_inputs,
            runs=DagsterRunRecords(context.instance),
            rules=rules_from_settings(settings),
            limits=lambda author: limits_for_author(settings, read_author(settings, author)),
            select_startable=partial(select_launchable, context.instance),
        )
        loop_tick = run(services, now=datetime.now(UTC))
    message = format_message(loop_tick)
    if not loop_tick.launches:
        return dg.SensorResult(skip_reason=message)
    context.log.info(message)
    return dg.SensorResult(run_requests=list(map(to_run_request, loop_tick.launches)))


def format_message(loop_tick: TickResult) -> str:
    """Return one line each for up to 25 authors, those with decisions first, and then the notes."""
    ordered_authors = sorted(
        loop_tick.messages, key=lambda author: (author not in loop_tick.decisions, author)
    )
    lines = [
        f"{author}: {loop_tick.messages[author]}" for author in ordered_authors[:MAX_SHOWN_AUTHORS]
    ]
    if len(ordered_authors) > MAX_SHOWN_AUTHORS:
        lines.append(
            f"and {len(ordered_authors) - MAX_SHOWN_AUTHORS} more authors: see quality_evidence"
        )
    return "\n".join([*lines, *loop_tick.notes]) or "no version to watch"
