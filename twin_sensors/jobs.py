"""Define the jobs, which select assets by key, group or tag and import none.

Scope: which assets run together, and their executors.
Out of scope: when the jobs run (sensors, schedules), and the work of the assets.
"""

from __future__ import annotations

import dagster as dg

IMPORT_ASSETS = (
    "raw_posts",
    "cleaned_documents",
    "embeddings",
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
# The jobs select marts by group and tag, so this package does not name them.
MARTS = dg.AssetSelection.groups("analytics")
CROSS_AUTHOR_MARTS = MARTS & dg.AssetSelection.tag("twin/partitions", "none")

import_posts = dg.define_asset_job(
    "import_posts",
    selection=dg.AssetSelection.assets(*IMPORT_ASSETS),
    description="Read an author's sources and make the changes searchable.",
    # One process for all steps: they take seconds, and each process would take 3 s to start.
    executor_def=dg.in_process_executor,
    # A person waits for new posts, so an import starts before all other queued runs.
    tags={"dagster/priority": "50"},
)

retrain_twin = dg.define_asset_job(
    "retrain_twin",
    selection=dg.AssetSelection.assets(*RETRAIN_ASSETS),
    description="Create one author's dataset, checkpoint, verdict, release, policy and report.",
    # `TWIN_STEPS_APART` selects the executor, which determines whether the steps share a process.
)

measure_claims_on_request = dg.define_asset_job(
    "measure_claims_on_request",
    selection=dg.AssetSelection.assets("claims_on_request"),
    description="Measure what prevents no release: general abilities, the voice against other "
    "people, and the front desk. Only a person starts it; it runs at the lowest priority.",
    executor_def=dg.in_process_executor,
)

measure_answer_model = dg.define_asset_job(
    "measure_answer_model",
    selection=dg.AssetSelection.assets("answer_model_report"),
    description="Measure whether the prose of an author's answer model says what the posts say, "
    "which decides whether it is shown. `twin up --answer-model` starts it.",
    executor_def=dg.in_process_executor,
)

learn_routing = dg.define_asset_job(
    "learn_routing",
    selection=dg.AssetSelection.assets("interactions", "routing_labels", "routing_policy"),
    description="Buy one author's labels within the monthly budget, and fit the routing policy.",
    executor_def=dg.in_process_executor,
)

collect_feedback = dg.define_asset_job(
    "collect_feedback",
    selection=dg.AssetSelection.assets("interactions", "quality_evidence")
    | (MARTS - CROSS_AUTHOR_MARTS),
    description="Collect the scores of one author's twin, and compute the evidence and the marts.",
    executor_def=dg.in_process_executor,
)

judge_answers = dg.define_asset_job(
    "judge_answers",
    selection=dg.AssetSelection.assets("judged_interactions"),
    # A separate job, because it waits for the pool `training`, and `collect_feedback` must not.
    description="Score new answers of one author's twin with the judges.",
    executor_def=dg.in_process_executor,
)

compare_versions = dg.define_asset_job(
    "compare_versions",
    selection=dg.AssetSelection.assets("shadow_pairs"),
    description="Compare more answers of one author's version on trial, so that the sensor "
    "`canary_verdict` can decide the trial.",
    executor_def=dg.in_process_executor,
)

compare_authors = dg.define_asset_job(
    "compare_authors",
    selection=CROSS_AUTHOR_MARTS,
    description="Compute the marts over all authors.",
    executor_def=dg.in_process_executor,
)
