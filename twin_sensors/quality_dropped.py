"""Define the sensor `quality_dropped`, which starts at most one retraining per detector alarm.

Scope: the code between Dagster and `retraining.quality.run_tick`.
Out of scope: reading scores, decisions and storage (`twin_resources/quality/retraining`).
Method: deploy/docs/architecture.md, The loop.
"""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

import dagster as dg

from twin_resources.authors import read_author
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.quality.ledger.ledger import Ledger
from twin_resources.quality.retraining.launching import LoopTick, RetrainingLoop
from twin_resources.quality.retraining.quality import run_tick
from twin_resources.quality.retraining.retraining_rules import (
    limits_for_author,
    rules_from_settings,
)
from twin_resources.quality.retraining.training_inputs import TrainingInputs
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_sensors.dagster_run_records import DagsterRunRecords
from twin_sensors.jobs import retrain_twin
from twin_sensors.launchable_runs import select_launchable, to_run_request

# In the message of a tick without runs; `quality_evidence` contains all authors.
MAX_SHOWN_AUTHORS = 25


@dg.sensor(
    job=retrain_twin,
    description="Starts `retrain_twin` when scores have fallen below the stable version's "
    "certified level, at most once per alarm. If automatic retraining is off, a fall is only "
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
    with open_loop(settings, registry, training_inputs, context.instance) as loop:
        loop_tick = run_tick(loop, now=datetime.now(UTC))
    return to_sensor_result(context, loop_tick)


@contextmanager
def open_loop(
    settings: Settings,
    registry: Registry,
    training_inputs: TrainingInputs,
    instance: dg.DagsterInstance,
) -> Generator[RetrainingLoop]:
    """Yield the inputs of a tick, and close the trace store connection afterwards."""
    with LangfuseClient.from_settings(settings) as client:
        yield RetrainingLoop(
            state=registry.state,
            ledger=Ledger.for_home(settings, registry.state, client),
            registry=registry,
            inputs=training_inputs,
            runs=DagsterRunRecords(instance),
            rules=rules_from_settings(settings),
            limits=lambda author: limits_for_author(settings, read_author(settings, author)),
            select_startable=partial(select_launchable, instance),
        )


def to_sensor_result(context: dg.SensorEvaluationContext, loop_tick: LoopTick) -> dg.SensorResult:
    """Return the tick's result for Dagster: run requests, or a skip reason with the numbers."""
    message = format_message(loop_tick)
    if not loop_tick.launches:
        return dg.SensorResult(skip_reason=message)
    context.log.info(message)
    return dg.SensorResult(run_requests=list(map(to_run_request, loop_tick.launches)))


def format_message(loop_tick: LoopTick) -> str:
    """Return lines for up to 25 authors, those with decisions first, then notes about reading."""
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
