"""Define the sensors `retraining_requested` and `new_material`, which retrain without an alarm.

Scope: the code between Dagster and `retraining/manual_triggers.py`.
Out of scope: counting, decisions and storage (`twin_resources/quality/retraining`).
"""

import tomllib
from pathlib import Path

import dagster as dg

from twin_resources.quality.retraining.manual_triggers import run_growth_tick, run_request_tick
from twin_resources.quality.retraining.training_inputs import TrainingInputs
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings, load_settings
from twin_sensors.jobs import retrain_twin
from twin_sensors.quality_dropped import evaluate_loop


def default_sensor_status() -> dg.DefaultSensorStatus:
    """Return RUNNING if automatic retraining is enabled for the home or one of its authors."""
    settings = load_settings()
    is_enabled = settings.auto_retrain or any(
        _has_auto_retrain_enabled(path) for path in settings.authors_dir.glob("*.toml")
    )
    return dg.DefaultSensorStatus.RUNNING if is_enabled else dg.DefaultSensorStatus.STOPPED


def _has_auto_retrain_enabled(path: Path) -> bool:
    """Return whether an author's file enables automatic retraining.

    This function does not call `read_author`, because an invalid file must not keep the code
    location from loading for all authors. The error is reported when that author is used.
    """
    try:
        return tomllib.loads(path.read_text("utf-8")).get("auto_retrain") is True
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, OSError):
        return False


@dg.sensor(
    job=retrain_twin,
    description="Starts `retrain_twin` when a person requests it (`twin retrain`), or after an "
    "erasure of text that a model was trained on.",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,  # erasures and explicit requests ignore settings
)
def retraining_requested(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[Registry],
    training_inputs: dg.ResourceParam[TrainingInputs],
) -> dg.SensorResult:
    """Start each retraining that a person requested or an erasure of training data requires."""
    return evaluate_loop(context, settings, registry, training_inputs, run_request_tick)


@dg.sensor(
    job=retrain_twin,
    description="Starts `retrain_twin` once enough posts or pairs have been added since the stable "
    "version was trained. Runs only if automatic retraining is on.",
    minimum_interval_seconds=600,  # each tick reads tables, and posts do not arrive every minute
    default_status=default_sensor_status(),
)
def new_material(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[Registry],
    training_inputs: dg.ResourceParam[TrainingInputs],
) -> dg.SensorResult:
    """Start a retraining once enough posts or pairs were added since the stable one was trained."""
    return evaluate_loop(context, settings, registry, training_inputs, run_growth_tick)
