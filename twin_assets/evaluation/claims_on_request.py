"""Define the asset `claims_on_request`: the claims that have never refused a version alone.

They cost most of a gate's time: a model's general abilities, its voice against the base's and
against other people's, and the installation's front desk. No job of the loop selects this asset.
The job `measure_claims_on_request` does, and a person starts it in Dagster's page.
"""

import dagster as dg

from twin_assets.evaluation import gate
from twin_assets.evaluation.checkpoint_evaluation import (
    build_claim_check,
    build_judging_setup,
    build_metadata,
)
from twin_assets.evaluation.judgement import ON_REQUEST_ASSET, complete_evaluation
from twin_assets.partitions import authors
from twin_resources.dagster_resources import EmbedderResource
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.processes.priority import lower_own_priority
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables


@dg.asset(
    group_name="evaluation",
    partitions_def=authors,
    deps=["evaluation_report"],
    check_specs=[
        dg.AssetCheckSpec(
            name,
            asset=ON_REQUEST_ASSET,
            description=gate.RULES[name].description,
            partitions_def=authors,
        )
        for name in gate.CLAIMS_ON_REQUEST
    ],
    kinds={"pytorch"},
)
def claims_on_request(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
    registry: dg.ResourceParam[Registry],
    model_server: dg.ResourceParam[ModelServers],
    embedder: EmbedderResource,
) -> dg.MaterializeResult:
    """Claims about the newest checkpoint that prevent no release, measured when a person asks."""
    lower_own_priority()
    setup = build_judging_setup(context, settings, tables, registry, model_server, embedder)
    judged_evaluation = complete_evaluation(setup, has_claims_on_request=True)
    claims = gate.select_claims(judged_evaluation.evaluation.claims, gate.CLAIMS_ON_REQUEST)
    checkpoint = judged_evaluation.verdict.checkpoint
    return dg.MaterializeResult(
        metadata=build_metadata(judged_evaluation),
        check_results=[build_claim_check(claim, checkpoint, is_advisory=True) for claim in claims],
    )
