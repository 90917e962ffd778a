"""Define the asset `evaluation_report`: the whole gate for a first model that already answers.

Scope: the asset and its checks.
Out of scope: judging (`judgement.complete_evaluation`) and measuring (`measurement.py`).

The first verdict (`sequential_plan.FIRST_VERDICT`) releases a first model before the remaining
measures are taken. This asset then takes them (`REMAINING`) and decides every claim. A failed check
does not stop the run. It withdraws the release (stable → refused) and records the reason in the
history and in a notice. If the whole gate was decided before the release, this asset has nothing to
do.

It runs after readers get answers, on a machine that a person uses, at the lowest priority. The
servers and processes that it starts inherit this priority.
"""

import dagster as dg

from twin_assets.evaluation import gate
from twin_assets.evaluation.checkpoint_evaluation import build_judging_setup, build_result
from twin_assets.evaluation.judgement import REPORT_ASSET, complete_evaluation
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
    # runs after the policy, so that the released model answers meanwhile
    deps=["checkpoint_evaluation", "routing_policy"],
    check_specs=[
        dg.AssetCheckSpec(
            rule.name, asset=REPORT_ASSET, description=rule.description, partitions_def=authors
        )
        for rule in map(gate.RULES.__getitem__, gate.CLAIMS)
    ],
    kinds={"pytorch"},
)
def evaluation_report(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
    registry: dg.ResourceParam[Registry],
    model_server: dg.ResourceParam[ModelServers],
    embedder: EmbedderResource,
) -> dg.MaterializeResult:
    """Every claim of the gate about the newest checkpoint, with report, plots and answers."""
    if lower_own_priority():
        context.log.info("the report is measured at the lowest priority; its lines say how long")
    setup = build_judging_setup(context, settings, tables, registry, model_server, embedder)
    return build_result(complete_evaluation(setup), answer=setup.profile.answer)
