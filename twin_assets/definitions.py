"""Assemble the code location's definitions: assets, checks, resources, jobs and sensors.

Scope: `build_defs`, and the list of modules that form the graph.
Out of scope: individual assets, resources and jobs.

Tests replace a resource through `build_defs(resources=…)`.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from typing import Any

# Importing this module creates half a million objects that stay alive. Python's garbage collector
# scanned them repeatedly, which took 0.6 of 2.7 CPU s. Its thresholds are restored at the end.
_thresholds = gc.get_threshold()
gc.set_threshold(1_000_000, *_thresholds[1:])

import dagster as dg

from twin_assets import contract_checks
from twin_assets.analytics.sql_models import build_sql_assets
from twin_assets.asset_specs import complete_spec
from twin_assets.corpus import cleaned_documents, raw_posts
from twin_assets.evaluation import (
    answer_model_report,
    checkpoint_evaluation,
    claims_on_request,
    evaluation_report,
)
from twin_assets.evaluation.gate import GATE_VERSION
from twin_assets.feedback import interactions, judged_interactions, quality_evidence
from twin_assets.instructions import instruction_dataset, preference_dataset
from twin_assets.knowledge import embeddings
from twin_assets.serving import (
    released_model,
    routing_labels,
    routing_policy,
    shadow_pairs,
)
from twin_assets.serving.training_inputs_resource import TrainingInputsResource
from twin_assets.step_executor import read_step_execution
from twin_assets.tables_io_manager import TablesIOManager
from twin_assets.training import checkpoints
from twin_resources import dagster_resources
from twin_resources.processes.parent_death import end_with_parent
from twin_resources.processes.process_identity import INSTANCE_VARIABLE
from twin_resources.settings import load_settings
from twin_sensors import (
    canary_verdict,
    changed_feeds,
    compaction,
    erasure_runs,
    import_schedules,
    jobs,
    learning_schedule,
    new_data_trigger,
    new_posts,
    notice_sensor,
    quality_dropped,
    rollback_job,
    schedules,
    unanswered_questions,
)

ASSET_MODULES = (
    raw_posts,
    cleaned_documents,
    embeddings,
    instruction_dataset,
    interactions,
    judged_interactions,
    quality_evidence,
    preference_dataset,
    checkpoints,
    checkpoint_evaluation,
    evaluation_report,
    claims_on_request,
    answer_model_report,
    shadow_pairs,
    released_model,
    routing_labels,
    routing_policy,
)


def default_resources(home: str = "") -> dict[str, Any]:
    """Return all resources by the names that assets use.

    Args:
        home: folder of all state. If it is empty, `TWIN_HOME` or else `.twin` is used.
    """
    return {
        "embedder": dagster_resources.EmbedderResource(home=home),
        "langfuse": dagster_resources.LangfuseResource(home=home),
        "model_server": dagster_resources.ModelServerResource(home=home),
        "registry": dagster_resources.RegistryResource(home=home),
        "retriever": dagster_resources.RetrieverResource(home=home),
        "settings": dagster_resources.SettingsResource(home=home),
        "state": dagster_resources.StateResource(home=home),
        "tables": dagster_resources.TablesResource(home=home),
        "tables_io": TablesIOManager(home=home),
        "training": dagster_resources.TrainingLauncherResource(home=home),
        "training_inputs": TrainingInputsResource(home=home),
    }


def _collect_definitions() -> tuple[list[dg.AssetsDefinition], list[dg.AssetChecksDefinition]]:
    """Return the assets and the asset checks of all modules."""
    # `dg.load_assets_from_modules` finds the same definitions but copies each twice, which takes
    # 0.2 of 4 CPU s.
    values = [
        value for module in (*ASSET_MODULES, contract_checks) for value in vars(module).values()
    ]
    asset_definitions = {
        id(value): value for value in values if isinstance(value, dg.AssetsDefinition)
    }.values()
    checks = [
        definition
        for definition in asset_definitions
        if isinstance(definition, dg.AssetChecksDefinition)
    ]
    assets = [
        *(
            definition
            for definition in asset_definitions
            if not isinstance(definition, dg.AssetChecksDefinition)
        ),
        *build_sql_assets(),
    ]
    return assets, checks


def build_defs(*, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Return the code location `llm-twin`; `resources` replaces defaults by name.

    Raises:
        TwinError: `TWIN_STEPS_APART` is invalid.
    """
    settings = load_settings()
    step_execution = read_step_execution(settings.steps_apart)
    assets, checks = _collect_definitions()
    step_execution.require_steps(definition.node_def.name for definition in [*assets, *checks])
    return dg.Definitions(
        assets=dg.with_source_code_references(step_execution.add_sizes(assets)),
        asset_checks=step_execution.add_sizes(checks),
        jobs=[
            jobs.import_posts,
            jobs.retrain_twin,
            jobs.measure_claims_on_request,
            jobs.measure_answer_model,
            jobs.learn_routing,
            jobs.collect_feedback,
            jobs.judge_answers,
            jobs.compare_versions,
            jobs.compare_authors,
            rollback_job.roll_back,
            unanswered_questions.list_unanswered_questions,
            erasure_runs.forget,
            compaction.tidy_tables,
        ],
        schedules=[
            import_schedules.import_all_posts_every_night,
            compaction.tidy_tables_before_dawn,
            schedules.collect_feedback_every_hour,
            schedules.judge_answers_every_hour,
            schedules.compare_versions_every_hour,
            schedules.compare_authors_every_day,
            unanswered_questions.list_unanswered_questions_every_monday,
            *learning_schedule.build_learning_schedules(settings),
        ],
        sensors=[
            quality_dropped.quality_dropped,
            new_data_trigger.retraining_requested,
            new_data_trigger.new_material,
            new_posts.new_posts,
            changed_feeds.changed_feeds,
            canary_verdict.build_sensor(GATE_VERSION),
            notice_sensor.notices_waiting,
            erasure_runs.forgetting_unfinished,
        ],
        resources=default_resources() | dict(resources or {}),
        # For jobs without their own executor: `retrain_twin`, and Dagster's job for assets that are
        # materialized in its UI.
        executor=step_execution.build_executor(),
    ).map_resolved_asset_specs(func=complete_spec)


# Every process of a run loads this module, and nothing else of ours before the run begins. Without
# this, the runs of a killed code server would train on beside their own retries.
if INSTANCE_VARIABLE in os.environ:
    end_with_parent()
defs = build_defs()
gc.set_threshold(*_thresholds)
