"""The sensors `retraining_requested` and `new_material`: retrainings that no alarm asks for.

Scope: the shells between Dagster and `loop.other_causes`.
Out of scope: counting, deciding, storing (`twin_resources/quality/retraining`).
"""

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from twin_resources.quality.retraining.manual_triggers import tick_growth, tick_requests
from twin_resources.quality.retraining.training_inputs import TrainingInputs
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings, load_settings
from twin_sensors.jobs import retrain_twin
from twin_sensors.quality_dropped import opened, result_of


def status_by_settings() -> dg.DefaultSensorStatus:
    """Running where automatic retraining was asked for, by the home or by one of its authors."""
    settings = load_settings()
    wanted = settings.auto_retrain or any(_asks_for_it(path) for path in _author_files(settings))
    return dg.DefaultSensorStatus.RUNNING if wanted else dg.DefaultSensorStatus.STOPPED


def _author_files(settings: Settings) -> list[Path]:
    return sorted(settings.authors_dir.glob("*.toml"))


def _asks_for_it(path: Path) -> bool:
    """Read without `read_author`: a file with a mistake in it must not keep every other author's
    assets from loading; whoever uses that author is told."""
    try:
        return tomllib.loads(path.read_text("utf-8")).get("auto_retrain") is True
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError):
        return False


@dg.sensor(
    job=retrain_twin,
    description="Starts `retrain_twin` when a person asked for it (`twin retrain`), or when "
    "something that a model was trained on is to be forgotten.",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,  # a duty and an order wait for no setting
)
def retraining_requested(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[Registry],
    training_inputs: dg.ResourceParam[TrainingInputs],
) -> dg.SensorResult:
    """A person asked for a retraining, or something a model was trained on is to be forgotten."""
    with opened(settings, registry, training_inputs, context.instance) as loop:
        done = tick_requests(loop, now=datetime.now(UTC))
    return result_of(context, done)


@dg.sensor(
    job=retrain_twin,
    description="Starts `retrain_twin` when enough posts or pairs have come since the stable "
    "version was trained. Runs where automatic retraining was asked for.",
    minimum_interval_seconds=600,  # tables are read, and posts do not come by the minute
    default_status=status_by_settings(),
)
def new_material(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[Registry],
    training_inputs: dg.ResourceParam[TrainingInputs],
) -> dg.SensorResult:
    """Enough posts or pairs have come since the stable version was trained."""
    with opened(settings, registry, training_inputs, context.instance) as loop:
        done = tick_growth(loop, now=datetime.now(UTC))
    return result_of(context, done)
