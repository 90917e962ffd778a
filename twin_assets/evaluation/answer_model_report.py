"""Define the asset `answer_model_report`: whether a named answer model's prose may be shown.

`twin up --answer-model` starts its job. It runs at the lowest priority, like `evaluation_report`:
quotations answer meanwhile. The verdict releases prose or gives the reason why it is held back.
"""

import dagster as dg

from twin_assets.evaluation import gate
from twin_assets.evaluation.answer_model_prose import judge_answer_model
from twin_assets.evaluation.checkpoint_evaluation import build_claim_check
from twin_assets.evaluation.measures.sentence_faithfulness import CLAIM
from twin_assets.partitions import authors
from twin_resources.authors import read_author
from twin_resources.dagster_resources import EmbedderResource
from twin_resources.errors import TwinError
from twin_resources.gateway.passage_finder import create_passage_finder
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.processes.priority import lower_own_priority
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables

ANSWER_MODEL_ASSET = "answer_model_report"


@dg.asset(
    group_name="evaluation",
    partitions_def=authors,
    deps=["embeddings"],
    check_specs=[
        dg.AssetCheckSpec(
            CLAIM,
            asset=ANSWER_MODEL_ASSET,
            description=gate.RULES[CLAIM].description,
            partitions_def=authors,
        )
    ],
    pool="training",
    kinds={"llama.cpp"},
)
def answer_model_report(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
    registry: dg.ResourceParam[Registry],
    model_server: dg.ResourceParam[ModelServers],
    embedder: EmbedderResource,
) -> dg.MaterializeResult:
    """Whether the prose of the author's answer model says what the posts say."""
    author = read_author(settings, context.partition_key)
    version = registry.stable_version(author.slug)
    if version is None or not version.is_answer_model:
        raise TwinError(
            f"measure the answer model of {author.name}",
            found="no answer model answers for this author",
            next_step="name one with `twin up --answer-model`",
        )
    lower_own_priority()
    verdict = judge_answer_model(
        author,
        version,
        settings=settings,
        tables=tables,
        registry=registry,
        servers=model_server,
        finder=create_passage_finder(settings),
        embedder=embedder.embedder(),
        log=context.log.info,
    )
    (claim,) = verdict.claims
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{verdict.checkpoint[:32]}-{verdict.created_at}"),
        metadata={
            "version": f"v{version.version}",
            "released_for": verdict.prose_release.description,
            "gate_version": verdict.gate_version,
        },
        check_results=[build_claim_check(claim, verdict.checkpoint, answer=author.answer)],
    )
