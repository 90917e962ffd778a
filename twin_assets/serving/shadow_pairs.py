"""The asset `shadow_pairs`: candidate and stable version on the same prompts, scored blind.

Belongs here: finding who is compared, the judges, and telling where the test stands.
Does not belong here: replaying (`shadowing.py`), releasing (`released_model`).

It needs no live traffic: recent prompts are replayed with their recorded context. Each pair is made
once; a run that was interrupted is continued. Nothing to compare is told, not skipped.
"""

import math
from typing import TYPE_CHECKING, Any

import dagster as dg

from twin_assets.evaluation.judged import author_panel
from twin_assets.partitions import authors
from twin_assets.serving import shadow_prompts, shadowing
from twin_resources.access.spending_limits import OverLimit
from twin_resources.authors import Author
from twin_resources.authors.consent import what_keeps_here
from twin_resources.dagster_resources import (
    EmbedderResource,
    ModelServerResource,
    RegistryResource,
    SettingsResource,
    TablesResource,
)
from twin_resources.errors import TwinError
from twin_resources.quality.release.measuring import recorded_prompts
from twin_resources.quality.release.release_mode import FEWEST_PROMPTS
from twin_resources.quality.release.trial import compared
from twin_resources.quality.release.trial_rows import ComparedVersions
from twin_resources.registry.moves import ModelVersion
from twin_resources.storage.weights.answer_model import address_of, is_far

if TYPE_CHECKING:
    from twin_resources.models.serving.model_server import ModelServers


class ShadowConfig(dg.Config):
    """How far one materialization goes.

    Attributes:
        most_pairs: new pairs at most.
        fewest_prompts: with fewer recorded prompts held-out ones fill up.
        margin: ε of certificates and test; None: `Settings.margin`.
        whatever_the_mode: also for authors whose release mode is `gate`, or `auto` with too few
            recorded prompts for a trial; so it is against an answer model.
        longest_s: against an answer model no batch of pairs is begun after so many seconds; the
            trial goes on in the next hour (`compare_versions`).
    """

    most_pairs: int = FEWEST_PROMPTS
    fewest_prompts: int = FEWEST_PROMPTS
    margin: float | None = None
    whatever_the_mode: bool = False
    longest_s: float = 300.0


@dg.asset(
    deps=["checkpoint_evaluation", "interactions"],
    partitions_def=authors,
    group_name="serving",
    kinds={"lance"},
    pool="training",
)
def shadow_pairs(
    context: dg.AssetExecutionContext,
    config: ShadowConfig,
    settings: SettingsResource,
    tables: TablesResource,
    registry: RegistryResource,
    model_server: ModelServerResource,
    embedder: EmbedderResource,
) -> dg.MaterializeResult:
    """Answers of candidate and stable version to recent prompts, off the request path."""
    author, store = settings.author(context.partition_key), tables.tables()
    models = registry.registry()
    versions = compared(models.state, author.slug)
    margin = settings.settings().margin if config.margin is None else config.margin
    recorded, needed = recorded_prompts(store, author.slug), settings.settings().trial_prompts
    nothing = ""
    must_win = versions is not None and versions.incumbent.is_answer_model
    whatever_the_mode = config.whatever_the_mode or must_win
    if author.release_mode == "gate" and not whatever_the_mode:
        nothing = "release mode is gate: nothing to replay"
    elif author.release_mode == "auto" and recorded < needed and not whatever_the_mode:
        nothing = f"release mode is auto: {recorded} of {needed} recorded prompts for a trial"
    elif must_win and versions is not None and _may_not_be_shown(author, versions.incumbent):
        nothing = (
            "the answer model is another provider's: paid = false, or no consent of the author"
        )
    elif versions is None:
        nothing = "no version waits beside a stable one: nothing to compare"
    if nothing or versions is None:
        known = store.data_version("shadow_pairs", author.slug)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(known or "none"), metadata={"nothing_to_do": nothing}
        )
    servers = model_server.servers()
    if must_win and (absent := _absent(servers, versions.incumbent)):
        return dg.MaterializeResult(
            data_version=dg.DataVersion(store.data_version("shadow_pairs", author.slug) or "none"),
            metadata={"nothing_to_do": absent},
        )
    try:
        panel = author_panel.panel_of(
            author,
            settings.settings(),
            tables=store,
            state=models.state,
            servers=servers,
            embedder=embedder.embedder(),
            say=context.log.info,
            margin=margin,
        )
        if not panel.claims:
            return dg.MaterializeResult(
                data_version=dg.DataVersion("no judge"),
                metadata={
                    "nothing_to_do": "no certified judge may decide",
                    **author_panel.told(panel),
                },
            )
        found = shadowing.replay(
            author,
            versions,
            shadow_prompts.shadow_prompts(
                store.read("interactions", author.slug)
                if store.exists("interactions", author.slug)
                else None,
                store.read("instruction_dataset", author.slug),
                shadow_prompts.shown_passages(store.read("document_chunks", author.slug)),
                fewest=config.fewest_prompts,
            ),
            panel,
            tables=store,
            serve=servers.serve_version,
            margin=margin,
            most_pairs=config.most_pairs,
            longest_s=config.longest_s if must_win else math.inf,
            say=context.log.info,
        )
    except OverLimit as error:  # what is paired so far is kept, and it goes on with the money
        known = store.data_version("shadow_pairs", author.slug)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(known or "none"),
            metadata={"nothing_to_do": author_panel.waits(settings.settings(), error)},
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(found.data_version),
        metadata={**_stand(versions, found), **author_panel.told(panel)},
    )


def _may_not_be_shown(author: Author, incumbent: ModelVersion) -> bool:
    """Whether prompts with posts would go to an address where the author does not want them."""
    url, _ = address_of(incumbent.base)
    return bool(url) and is_far(url) and bool(what_keeps_here(author))


def _absent(servers: "ModelServers", incumbent: ModelVersion) -> str:
    """Why an answer model at an address cannot be compared with now: no failure of the training
    that this run may have made, and the next hour asks again; empty: it answers, or is ours."""
    if not address_of(incumbent.base)[0]:
        return ""
    try:
        with servers.serve_version(incumbent):
            return ""
    except TwinError as error:
        return f"the answer model does not answer: {error.found}"


def _stand(versions: ComparedVersions, found: shadowing.ReplayResult) -> dict[str, Any]:
    """Where the test stands; no text of a prompt or an answer."""
    evidence = found.evidence
    return {
        "candidate": f"v{versions.candidate.version}",
        "incumbent": f"v{versions.incumbent.version}",
        "anchor": f"v{versions.anchor.version}" if versions.anchor else "the incumbent, or none",
        "trial": found.trial,
        "verdict": evidence.verdict,
        "pairs": evidence.pairs,
        "new_pairs": found.new_pairs,
        "new_plants": found.new_plants,
        "prompts_used_up": found.exhausted,
        "withdrawn": list(found.withdrawn),
        "seconds": round(found.seconds, 1),
        "margin": evidence.margin,
        "log_promotion": dg.MetadataValue.json(dict(evidence.highest)),
        "log_needed": round(evidence.log_needed_up, 3),
        "means": dg.MetadataValue.json(
            {
                claim: {"candidate": round(mine, 3), "incumbent": round(theirs, 3)}
                for claim, (mine, theirs) in found.means.items()
            }
        ),
    }
