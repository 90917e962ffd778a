"""Define a small code location with the product's jobs.

Its assets finish at once, except in the partition `slow`.
"""

import json
import os
import time
from pathlib import Path

import dagster as dg

from twin_resources.processes.parent_death import end_with_parent

end_with_parent()  # as the product's definitions do: a run ends with its code server

authors = dg.DynamicPartitionsDefinition(name="authors")


@dg.asset(partitions_def=authors)
def posts(context: dg.AssetExecutionContext) -> None:
    if context.partition_key == "broken":
        raise ValueError("no space left on device")


@dg.asset(partitions_def=authors, deps=[posts])
def checkpoint(context: dg.AssetExecutionContext) -> None:
    for step in (1, 2):
        context.log.info("progress %s", json.dumps({"step": step, "steps": 2, "loss": 3.0 - step}))
    if context.partition_key == "slow":
        time.sleep(300)


@dg.asset_check(asset=checkpoint, blocking=True, partitions_def=authors)
def beats_base_model(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=context.partition_key != "worse")


@dg.asset(partitions_def=authors, deps=[checkpoint])
def released_model() -> None: ...


@dg.asset(partitions_def=authors, deps=[released_model])
def routing_policy() -> None: ...


@dg.asset(partitions_def=authors, deps=[routing_policy])
def evaluation_report(context: dg.AssetExecutionContext) -> None:
    while Path(os.environ["TWIN_HOME"], f"report of {context.partition_key} runs").exists():
        time.sleep(0.2)


@dg.sensor(job_name="retrain_twin", default_status=dg.DefaultSensorStatus.RUNNING)
def retraining_requested() -> dg.SkipReason:
    return dg.SkipReason("the test replaces this sensor")


defs = dg.Definitions(
    assets=[posts, checkpoint, released_model, routing_policy, evaluation_report],
    asset_checks=[beats_base_model],
    sensors=[retraining_requested],
    jobs=[
        dg.define_asset_job("import_posts", [posts], executor_def=dg.in_process_executor),
        dg.define_asset_job(
            "retrain_twin",
            dg.AssetSelection.assets(checkpoint).downstream(),
            executor_def=dg.in_process_executor,
        ),
    ],
)
