"""Define a code location with the real sensors, an empty training job and fixed inputs."""

from copy import copy

import dagster as dg

from tests.graph.retraining.conftest import Inputs
from twin_resources.dagster_resources import (
    RegistryResource,
    SettingsResource,
    StateResource,
    TablesResource,
)
from twin_sensors import jobs, new_data_trigger, notice_sensor, quality_dropped

authors = dg.DynamicPartitionsDefinition(name="authors")


def _empty_asset(name: str) -> dg.AssetsDefinition:
    @dg.asset(name=name, partitions_def=authors)
    def step() -> None: ...

    return step


# With 30 seconds, the successor of a killed daemon would wait for the rest of the interval. This is
# a copy, because other tests in this process read the original.
quick_quality_dropped = copy(quality_dropped.quality_dropped)
quick_quality_dropped._min_interval = 1

defs = dg.Definitions(
    assets=[_empty_asset(name) for name in jobs.RETRAIN_ASSETS],
    jobs=[jobs.retrain_twin],
    executor=dg.in_process_executor,
    sensors=[
        quick_quality_dropped,
        new_data_trigger.retraining_requested,
        new_data_trigger.new_material,
        notice_sensor.notices_waiting,
    ],
    resources={
        "settings": SettingsResource(),
        "registry": RegistryResource(),
        "state": StateResource(),
        "tables": TablesResource(),
        "training_inputs": Inputs(datasets={"ada": "posts-2"}),
    },
)
