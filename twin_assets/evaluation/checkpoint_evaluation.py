"""Define the asset `checkpoint_evaluation`: measure the candidate, judge it, store the verdict.

Scope: the asset, its blocking checks, its metadata; the parts shared with `evaluation_report`.
Out of scope: judging (`judgement.py`) and releasing (`released_model`).

The checks use the evaluation of exactly this checkpoint. A check passes only if its claim is met.
A failed check of severity ERROR stops the release in the same run; the stored verdict prevents a
release in any other run. A failed check of severity WARN stops no release: the claim is advisory,
holds back only prose, or `evaluation_report` decides it later, as it does for a first model.
"""

import dagster as dg

from twin_assets.evaluation import gate
from twin_assets.evaluation.judgement import (
    DATASET,
    EVALUATION_ASSET,
    REPORT_ASSET,
    JudgedEvaluation,
    JudgingSetup,
    judge_candidate,
)
from twin_assets.evaluation.judging.judge_material import other_author_slugs
from twin_assets.evaluation.report.markdown import answers_path, render_report_for_event_log
from twin_assets.partitions import authors
from twin_resources.authors import read_author
from twin_resources.authors.answer_forms import VOICE, AnswerSetting
from twin_resources.dagster_resources import EmbedderResource
from twin_resources.dagster_runs import DECIDED_LATER_KEY
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.registry.moves import GateClaim
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables


@dg.asset(
    group_name="evaluation",
    partitions_def=authors,
    deps=[DATASET, "embeddings", "preference_tuned_checkpoint"],
    check_specs=[
        dg.AssetCheckSpec(
            rule.name,
            asset=EVALUATION_ASSET,
            description=rule.description,
            # a claim with `blocks` stops one form of answer, not the release (`build_claim_check`)
            blocking=not rule.blocks,
            partitions_def=authors,
        )
        for rule in map(gate.RULES.__getitem__, gate.CLAIMS)
    ],
    kinds={"pytorch"},
)
def checkpoint_evaluation(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
    registry: dg.ResourceParam[Registry],
    model_server: dg.ResourceParam[ModelServers],
    embedder: EmbedderResource,
) -> dg.MaterializeResult:
    """The candidate compared with other models on passages that none of them was trained on."""
    setup = build_judging_setup(context, settings, tables, registry, model_server, embedder)
    return build_result(judge_candidate(setup), answer=setup.profile.answer)


def build_judging_setup(
    context: dg.AssetExecutionContext,
    settings: Settings,
    tables: Tables,
    registry: Registry,
    model_server: ModelServers,
    embedder: EmbedderResource,
) -> JudgingSetup:
    """Return the setup for judging the candidates of the run's author."""
    author = read_author(settings, context.partition_key)
    return JudgingSetup(
        author,
        settings,
        tables,
        registry,
        model_server,
        embedder.embedder,
        context.log.info,
        other_author_slugs(author.slug, settings),
    )


def build_result(
    judged_evaluation: JudgedEvaluation, *, answer: AnswerSetting
) -> dg.MaterializeResult:
    """Return the asset's result with a check for every claim that can refuse a version.

    Args:
        answer: the author's `answer` setting.
    """
    verdict = judged_evaluation.verdict
    decided_names = {claim.name for claim in verdict.claims}
    return dg.MaterializeResult(
        data_version=dg.DataVersion(
            f"{judged_evaluation.evaluation.rests_on[:32]}-{verdict.outcome}"
        ),
        metadata=build_metadata(judged_evaluation),
        check_results=[
            *(
                build_claim_check(claim, verdict.checkpoint, answer=answer)
                for claim in verdict.claims
            ),
            *(
                build_undecided_check(name, verdict.checkpoint)
                for name in gate.CLAIMS
                if name not in decided_names
            ),
        ],
    )


def build_undecided_check(name: str, checkpoint: str) -> dg.AssetCheckResult:
    """Return a warning for a claim that is decided after a first model's release."""
    return dg.AssetCheckResult(
        check_name=name,
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"not decided yet: {REPORT_ASSET} decides it after the release, and withdraws "
        "the model if it is not met",
        metadata={
            "checkpoint": checkpoint,
            "decided": False,
            DECIDED_LATER_KEY: True,
            "met": False,
        },
    )


def build_claim_check(
    claim: GateClaim,
    checkpoint: str,
    *,
    is_advisory: bool = False,
    answer: AnswerSetting = "auto",
) -> dg.AssetCheckResult:
    """Return a claim as a check.

    Args:
        is_advisory: whether the claim was measured on request and cannot prevent a release. A claim
            that is not met is then a warning.
        answer: the author's `answer` setting. A claim that blocks prose is an error for authors who
            want only prose, and a warning for all others, who get quotations instead.
    """
    status = {True: "met", False: "not met", None: "not decided"}[claim.passed]
    detail = claim.detail.removeprefix("not decided: ")
    reason = "measured on request, prevents no release"
    if claim.blocks and answer != VOICE:
        is_advisory = True
        reason = f"advisory: it blocks only prose, and this author's `answer` is {answer}"
    message = f"{reason}; {status}: {detail}"
    return dg.AssetCheckResult(
        check_name=claim.name,
        passed=claim.passed is True,
        severity=dg.AssetCheckSeverity.WARN if is_advisory else dg.AssetCheckSeverity.ERROR,
        description=message if is_advisory else claim.detail,
        metadata={
            "checkpoint": checkpoint,
            "decided": claim.passed is not None,
            "stated_only": is_advisory,
            "blocks": "prose" if claim.blocks else "the release",
            "met": claim.passed is True,
            **({} if claim.value is None else {"value": claim.value}),
            **({} if claim.threshold is None else {"threshold": claim.threshold}),
        },
    )


def build_metadata(
    judged_evaluation: JudgedEvaluation,
) -> dict[str, dg.MetadataValue | str | int | float | bool]:
    """Return figures and links without post text, because the event log is permanent."""
    evaluation, verdict = judged_evaluation.evaluation, judged_evaluation.verdict
    entries: dict[str, dg.MetadataValue | str | int | float | bool] = {
        "verdict": verdict.outcome,
        "released_for": verdict.prose_release.description if verdict.outcome == "passed" else "",
        "part": "whole" if judged_evaluation.is_full_gate else "first",
        "taken_back": judged_evaluation.withdrawn_version,
        "gate_version": verdict.gate_version,
        "checkpoint": verdict.checkpoint,
        "measured_now": judged_evaluation.is_newly_measured,
        "report": dg.MetadataValue.md(render_report_for_event_log(evaluation, verdict)),
        "report_file": dg.MetadataValue.path(str(judged_evaluation.report_path)),
        "precision": evaluation.precision,
        "seconds": dg.MetadataValue.json(evaluation.seconds),
    }
    if (answers := answers_path(judged_evaluation.report_path)).is_file():
        entries["answers"] = dg.MetadataValue.path(str(answers))
    if evaluation.perplexity is not None:
        entries["perplexity"] = round(evaluation.perplexity, 3)
    if judged_evaluation.experiment:
        experiment = judged_evaluation.experiment
        entries["experiment"] = (
            dg.MetadataValue.url(experiment) if experiment.startswith("http") else experiment
        )
    return entries | {
        claim.name: claim.value for claim in verdict.claims if claim.value is not None
    }
