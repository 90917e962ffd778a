"""Define the asset `shadow_pairs`: candidate and stable version on the same prompts, scored blind.

Scope: finding the versions to compare, the judges, and reporting the state of the test.
Out of scope: replaying (`shadowing.py`), releasing (`released_model`).

It needs no live traffic, because recent prompts are replayed with their recorded context. Each pair
is made once, and an interrupted run is continued. Nothing to compare is reported, not skipped.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg

from twin_assets.evaluation.judged import author_panel
from twin_assets.serving import shadow_prompts, shadowing
from twin_assets.table_assets import left_as_it_was, materialized, table_asset
from twin_resources.access.spending_limits import OverLimit
from twin_resources.authors import Author, read_author
from twin_resources.authors.consent import what_keeps_here
from twin_resources.dagster_resources import (
    EmbedderResource,
)
from twin_resources.errors import TwinError
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.quality.judges.pairs import TABLE
from twin_resources.quality.judges.panel import Panel
from twin_resources.quality.release.measuring import recorded_prompts
from twin_resources.quality.release.release_mode import MIN_PROMPTS
from twin_resources.quality.release.trial import compared, passed_no_gate
from twin_resources.quality.release.trial_rows import ComparedVersions
from twin_resources.registry.moves import ModelVersion
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables
from twin_resources.storage.weights.answer_model import address_of, is_far

if TYPE_CHECKING:
    from twin_resources.models.serving.model_server import ModelServers


class ShadowConfig(dg.Config):
    """Limits of one materialization.

    Attributes:
        most_pairs: largest number of new pairs.
        fewest_prompts: number of recorded prompts below which held-out ones are added.
        margin: ε of certificates and test; None for `Settings.margin`.
        whatever_the_mode: whether to compare also for authors whose release mode is `gate`, or
            `auto` with too few recorded prompts for a trial. Comparisons with an answer model and
            trials that have begun always do so.
        longest_s: seconds after which no batch of pairs starts against an answer model; the trial
            continues in the next hour (`compare_versions`).
    """

    most_pairs: int = MIN_PROMPTS
    fewest_prompts: int = MIN_PROMPTS
    margin: float | None = None
    whatever_the_mode: bool = False
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
    """Answers of candidate and stable version to recent prompts, off the request path."""
    author = read_author(settings, context.partition_key)
    versions = compared(registry.state, author.slug)
    nothing = _nothing_to_replay(author, settings, config, versions, tables, model_server)
    if nothing or versions is None:
        return left_as_it_was(tables, TABLE, author.slug, because=nothing)
    try:
        panel = author_panel.panel_of(
            author,
            settings,
            tables=tables,
            state=registry.state,
            servers=model_server,
            embedder=embedder.embedder(),
            log=context.log.info,
            margin=_margin(config, settings),
        )
        if not panel.claims:
            why = "no certified judge may decide"
            return materialized("no judge", {"nothing_to_do": why, **author_panel.told(panel)})
        replayed = _replay(
            author,
            settings,
            config,
            versions,
            panel,
            tables,
            model_server,
            forced=passed_no_gate(registry, versions.incumbent),
            log=context.log.info,
        )
    except OverLimit as error:  # pairs so far are kept, and the trial continues within the limits
        waits = author_panel.waits(settings, error)
        return left_as_it_was(tables, TABLE, author.slug, because=waits)
    return materialized(
        replayed.data_version, {**_stand(versions, replayed), **author_panel.told(panel)}
    )


def _nothing_to_replay(
    author: Author,
    home: Settings,
    config: ShadowConfig,
    versions: ComparedVersions | None,
    tables: Tables,
    servers: "ModelServers",
) -> str:
    """Return why no pair can be made now; empty if there is something to compare."""
    against_answer_model = versions is not None and versions.incumbent.is_answer_model
    # A trial that has begun continues to its end, whatever the next candidate's mode is.
    on_trial = versions is not None and versions.candidate.state == "shadow"
    whatever_the_mode = config.whatever_the_mode or against_answer_model or on_trial
    recorded, needed = recorded_prompts(tables, author.slug), home.trial_prompts
    if author.release_mode == "gate" and not whatever_the_mode:
        return "release mode is gate: nothing to replay"
    if author.release_mode == "auto" and recorded < needed and not whatever_the_mode:
        return f"release mode is auto: {recorded} of {needed} recorded prompts for a trial"
    if versions is None:
        return "no version waits beside a stable one: nothing to compare"
    if not against_answer_model:
        return ""
    if _may_not_be_shown(author, versions.incumbent):
        return "the answer model is another provider's: paid = false, or no consent of the author"
    return _absent(servers, versions.incumbent)


def _replay(
    author: Author,
    home: Settings,
    config: ShadowConfig,
    versions: ComparedVersions,
    panel: Panel,
    tables: Tables,
    servers: "ModelServers",
    *,
    forced: bool,
    log: Callable[[str], object],
) -> shadowing.ReplayResult:
    return shadowing.replay(
        author,
        versions,
        shadow_prompts.stored_prompts(tables, author.slug, fewest=config.fewest_prompts),
        panel,
        tables=tables,
        serve=servers.serve_version,
        margin=_margin(config, home),
        most_pairs=config.most_pairs,
        forced=forced,
        longest_s=config.longest_s if versions.incumbent.is_answer_model else math.inf,
        log=log,
    )


def _margin(config: ShadowConfig, home: Settings) -> float:
    return home.margin if config.margin is None else config.margin


def _may_not_be_shown(author: Author, incumbent: ModelVersion) -> bool:
    """Return whether prompts with posts would leave for an address against the author's wish."""
    url, _ = address_of(incumbent.base)
    return bool(url) and is_far(url) and bool(what_keeps_here(author))


def _absent(servers: "ModelServers", incumbent: ModelVersion) -> str:
    """Return why an answer model at an address cannot be compared now; empty if it can or is ours.

    That is not a failure of the training that this run may have made; the next hour asks again.
    """
    if not address_of(incumbent.base)[0]:
        return ""
    try:
        with servers.serve_version(incumbent):
            return ""
    except TwinError as error:
        return f"the answer model does not answer: {error.found}"


def _stand(versions: ComparedVersions, replayed: shadowing.ReplayResult) -> dict[str, Any]:
    """Return the state of the test, without text of prompts or answers."""
    evidence = replayed.evidence
    return {
        "candidate": f"v{versions.candidate.version}",
        "incumbent": f"v{versions.incumbent.version}",
        "trial": replayed.trial,
        "verdict": evidence.verdict,
        "pairs": evidence.pairs,
        "new_pairs": replayed.new_pairs,
        "new_plants": replayed.new_plants,
        "prompts_used_up": replayed.exhausted,
        "withdrawn": list(replayed.withdrawn),
        "seconds": round(replayed.seconds, 1),
        "margin": evidence.margin,
        "log_promotion": dg.MetadataValue.json(dict(evidence.highest)),
        "log_needed": round(evidence.log_needed_up, 3),
        "means": dg.MetadataValue.json(
            {
                claim: {"candidate": round(mine, 3), "incumbent": round(theirs, 3)}
                for claim, (mine, theirs) in replayed.means.items()
            }
        ),
    }
