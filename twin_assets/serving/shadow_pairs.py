"""Define the asset `shadow_pairs`: the candidate's and stable version's answers, scored blind.

Scope: finding the versions to compare, assembling the judges, and reporting the state of the test.
Out of scope: replaying (`shadowing.py`), releasing (`released_model`).

The asset needs no live traffic, because it replays recent prompts with their recorded context. Each
pair is made once, and an interrupted run resumes. If there is nothing to compare, the asset reports
the reason.
"""

import math
from typing import Any

import dagster as dg

from twin_assets.evaluation.judging import author_panel
from twin_assets.serving import shadow_prompts, shadowing
from twin_assets.table_assets import report_materialization, report_unchanged, table_asset
from twin_resources.access.spending_limits import OverLimitError
from twin_resources.authors import Author, read_author
from twin_resources.authors.consent import find_external_use_refusal
from twin_resources.dagster_resources import EmbedderResource
from twin_resources.errors import TwinError
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.quality.judges.pairs import TABLE
from twin_resources.quality.release.release_mode import MIN_PROMPTS
from twin_resources.quality.release.trial import compared_versions, is_ungated
from twin_resources.quality.release.trial_feasibility import count_recorded_prompts
from twin_resources.quality.release.trial_rows import ComparedVersions
from twin_resources.registry.moves import ModelVersion
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables
from twin_resources.storage.weights.answer_model import is_remote, split_stored_name


class ShadowConfig(dg.Config):
    """Limits of one materialization.

    Attributes:
        most_pairs: maximum number of new pairs.
        longest_s: seconds after which no further batch starts if the incumbent is an answer model;
            the trial continues in the next hour (`compare_versions`).
    """

    most_pairs: int = MIN_PROMPTS
    longest_s: float = 300.0


@table_asset(group_name="serving", deps=["checkpoint_evaluation", "interactions"], pool="training")
def shadow_pairs(
    context: dg.AssetExecutionContext,
    config: ShadowConfig,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
    registry: dg.ResourceParam[Registry],
    model_server: dg.ResourceParam[ModelServers],
    embedder: EmbedderResource,
) -> dg.MaterializeResult:
    """Answers of the candidate and the stable version to recent prompts, off the request path."""
    author = read_author(settings, context.partition_key)
    versions = compared_versions(registry.state, author.slug)
    idle_reason = _idle_reason(author, settings, versions, tables, model_server)
    if idle_reason or versions is None:
        return report_unchanged(tables, TABLE, author.slug, reason=idle_reason)
    try:
        panel = author_panel.assemble_author_panel(
            author,
            settings,
            tables=tables,
            state=registry.state,
            servers=model_server,
            embedder=embedder.embedder(),
            log=context.log.info,
            margin=settings.margin,
        )
        if not panel.claims:
            reason = "no judge is certified to decide"
            return report_materialization(
                "no judge", {"nothing_to_do": reason, **author_panel.panel_metadata(panel)}
            )
        replay_result = shadowing.replay(
            author,
            versions,
            shadow_prompts.read_prompts(tables, author.slug, min_prompts=MIN_PROMPTS),
            panel,
            tables=tables,
            serve=model_server.serve_version,
            margin=settings.margin,
            max_pairs=config.most_pairs,
            is_incumbent_ungated=is_ungated(registry, versions.incumbent),
            max_duration_s=config.longest_s if versions.incumbent.is_answer_model else math.inf,
            log=context.log.info,
        )
    except OverLimitError as error:
        # earlier pairs are kept, and the trial continues once the limits allow it
        wait_reason = author_panel.build_waiting_message(settings, error)
        return report_unchanged(tables, TABLE, author.slug, reason=wait_reason)
    return report_materialization(
        replay_result.data_version,
        {**_trial_metadata(versions, replay_result), **author_panel.panel_metadata(panel)},
    )


def _idle_reason(
    author: Author,
    settings: Settings,
    versions: ComparedVersions | None,
    tables: Tables,
    servers: ModelServers,
) -> str:
    """Return why no pairs can be made now, or an empty string if there is something to compare."""
    has_answer_model = versions is not None and versions.incumbent.is_answer_model
    # a started trial continues to its end in every release mode
    is_on_trial = versions is not None and versions.candidate.state == "shadow"
    ignores_mode = has_answer_model or is_on_trial
    recorded_count = count_recorded_prompts(tables, author.slug)
    needed_count = settings.trial_prompts
    if author.release_mode == "gate" and not ignores_mode:
        return "the release mode is gate: nothing to replay"
    if author.release_mode == "auto" and recorded_count < needed_count and not ignores_mode:
        return (
            f"the release mode is auto: {recorded_count} of {needed_count} prompts for a trial "
            "are recorded"
        )
    if versions is None:
        return "no version is waiting for comparison with a stable version"
    if not has_answer_model:
        return ""
    if _is_sharing_forbidden(author, versions.incumbent):
        return (
            "the answer model belongs to another provider, and either `paid` is false or consent "
            "is missing"
        )
    return _explain_unavailability(servers, versions.incumbent)


def _is_sharing_forbidden(author: Author, incumbent: ModelVersion) -> bool:
    """Return whether prompts with posts would be sent to a remote address without permission."""
    url, _ = split_stored_name(incumbent.base)
    return bool(url) and is_remote(url) and bool(find_external_use_refusal(author))


def _explain_unavailability(servers: ModelServers, incumbent: ModelVersion) -> str:
    """Return why a remotely served answer model cannot be compared now, or "" if it can.

    An unavailable model does not fail a training run that includes this step. The next hourly run
    tries again.
    """
    if not split_stored_name(incumbent.base)[0]:
        return ""
    try:
        with servers.serve_version(incumbent):
            return ""
    except TwinError as error:
        return f"the answer model does not answer: {error.found}"


def _trial_metadata(
    versions: ComparedVersions, replay_result: shadowing.ReplayResult
) -> dict[str, Any]:
    """Return the state of the test, without the text of prompts or answers."""
    evidence = replay_result.evidence
    return {
        "candidate": f"v{versions.candidate.version}",
        "incumbent": f"v{versions.incumbent.version}",
        "trial": replay_result.trial,
        "verdict": evidence.verdict,
        "pairs": evidence.pairs,
        "new_pairs": replay_result.new_pair_count,
        "new_plants": replay_result.new_probe_count,
        "prompts_used_up": replay_result.is_exhausted,
        "withdrawn": list(replay_result.withdrawn_claims),
        "margin": evidence.margin,
    }
