"""Define the jobs. They select assets by key or group, so this module imports no assets.

Scope: the assets that run together, and their executors. Out of scope: when the jobs run
(sensors, schedules), and the work of the assets.
"""

from __future__ import annotations

import dagster as dg

IMPORT_ASSETS = (
    "raw_posts",
    "cleaned_documents",
    "document_chunks",
    "embeddings",
    "passage_embeddings",
    "quote_calibration",
)
RETRAIN_ASSETS = (
    "instruction_dataset",
    "interactions",
    "preference_dataset",
    "fine_tuned_checkpoint",
    "preference_tuned_checkpoint",
    "checkpoint_evaluation",
    "shadow_pairs",
    "released_model",
    "routing_policy",
    "evaluation_report",
)
REFERENCE_ASSETS = ("other_authors_adapter",)
ROUTING_ASSETS = ("interactions", "routing_labels", "routing_policy")
FEEDBACK_ASSETS = ("interactions", "quality_evidence")
JUDGEMENT_ASSETS = ("judged_interactions",)
COMPARISON_ASSETS = ("shadow_pairs",)
# The jobs select marts by group and tag, so this package does not name them.
MARTS = dg.AssetSelection.groups("analytics")
CROSS_AUTHOR_MARTS = MARTS & dg.AssetSelection.tag("twin/partitions", "none")

import_posts = dg.define_asset_job(
    "import_posts",
    selection=dg.AssetSelection.assets(*IMPORT_ASSETS),
    description="Read an author's sources and make the change searchable.",
    # One process for all steps: they take seconds, and each process would take 3 s to start.
    executor_def=dg.in_process_executor,
)

retrain_twin = dg.define_asset_job(
    "retrain_twin",
    selection=dg.AssetSelection.assets(*RETRAIN_ASSETS),
    description="Dataset, checkpoint, gate, release, policy and report of one author.",
    # `TWIN_STEPS_APART` determines the executor, that is, whether the steps share a process.
)

train_reference = dg.define_asset_job(
    "train_reference",
    selection=dg.AssetSelection.assets(*REFERENCE_ASSETS),
    description="The adapter of other authors that an author's later candidates must beat.",
)

learn_routing = dg.define_asset_job(
    "learn_routing",
    selection=dg.AssetSelection.assets(*ROUTING_ASSETS),
    description="Labels of one author within the month's sum, and the policy that follows.",
    executor_def=dg.in_process_executor,
)

collect_feedback = dg.define_asset_job(
    "collect_feedback",
    selection=dg.AssetSelection.assets(*FEEDBACK_ASSETS) | (MARTS - CROSS_AUTHOR_MARTS),
    description="Scores of readers and judges for one author's twin, and the marts over them.",
    executor_def=dg.in_process_executor,
)

judge_answers = dg.define_asset_job(
    "judge_answers",
    selection=dg.AssetSelection.assets(*JUDGEMENT_ASSETS),
    # This job is separate because the pool `training` counts runs, and feedback must not wait.
    description="Judges' scores for new answers of one author's twin.",
    executor_def=dg.in_process_executor,
)

compare_versions = dg.define_asset_job(
    "compare_versions",
    selection=dg.AssetSelection.assets(*COMPARISON_ASSETS),
    description="More pairs of answers for one author's version on trial; `canary_verdict` acts on "
    "what they say.",
    executor_def=dg.in_process_executor,
)

compare_authors = dg.define_asset_job(
    "compare_authors",
    selection=CROSS_AUTHOR_MARTS,
    description="The marts over all authors.",
    executor_def=dg.in_process_executor,
)
