"""Define the asset `released_model`, which reconciles the registry and may release a candidate.

Scope: requesting one release round, and reporting its moves or why there were none.
Out of scope: legal moves (`registry/moves.py`), moving (`registry/`), the order
of a round (`release/releasing.py`), the gate.

Nothing is released without the author's consent (`twin_resources/authors/consent.py`), but earlier
releases remain. In every run, a version is released only if the gate's current version has passed
exactly its checkpoint. Materializing the asset again moves nothing.
"""

import time
from typing import TYPE_CHECKING, Any

import dagster as dg

from twin_assets.evaluation.gate import GATE_VERSION
from twin_assets.partitions import authors
from twin_resources.authors import Author, read_author
from twin_resources.authors.consent import find_consent_date, missing_consent_reason
from twin_resources.dagster_history import newest_metadata
from twin_resources.registry.moves import ModelVersion, Verdict, describe_refusal
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables

if TYPE_CHECKING:
    from twin_resources.quality.release.releasing import ReleaseRound

ACTOR = "released_model"


@dg.asset(
    group_name="serving",
    partitions_def=authors,
    deps=["checkpoint_evaluation", "shadow_pairs"],
    kinds={"sqlite"},
)
def released_model(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[Registry],
    tables: dg.ResourceParam[Tables],
) -> dg.MaterializeResult:
    """The reconciled registry; a candidate that passed the gate goes on trial or is released."""
    author = read_author(settings, context.partition_key)
    release_round = _release(context.instance, author, settings, registry, tables)
    stable_version = registry.stable_version(author.slug)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(
            f"v{stable_version.version}-{stable_version.checkpoint}" if stable_version else "base"
        ),
        metadata=_build_metadata(context.instance, author, registry, release_round),
    )


def _release(
    instance: dg.DagsterInstance,
    author: Author,
    settings: Settings,
    registry: Registry,
    tables: Tables,
) -> "ReleaseRound":
    from twin_resources.quality.release.releasing import ReleaseRequest, measure_and_release

    request = ReleaseRequest(
        author=author.slug,
        gate_version=GATE_VERSION,
        actor=ACTOR,
        now=time.time(),
        requested_mode=author.release_mode,
        replay_metadata=newest_metadata(instance, "shadow_pairs", author.slug),
        margin=settings.margin,
        min_prompts=settings.trial_prompts,
        withheld_reason=_explain_missing_consent(author),
    )
    return measure_and_release(registry, tables, request)


def _explain_missing_consent(author: Author) -> str:
    """Return why the author's consent is missing, or an empty string if it exists."""
    return missing_consent_reason(author) if find_consent_date(author) is None else ""


def _build_metadata(
    instance: dg.DagsterInstance, author: Author, registry: Registry, release_round: "ReleaseRound"
) -> dict[str, Any]:
    """Return the moves since the newest materialization, or why there were none."""
    from twin_resources.quality.release import release_summary

    versions = registry.versions(author.slug)
    newest_version = versions[-1] if versions else None
    verdict = registry.verdict(newest_version.checkpoint, GATE_VERSION) if newest_version else None
    last_move_number = int(newest_metadata(instance, "released_model", author.slug).get("move", 0))
    new_moves = release_summary.unreported_moves(registry.moves(author.slug), last_move_number)
    entries = release_summary.release_metadata(
        registry.stable_version(author.slug), new_moves, last_move_number=last_move_number
    )
    trial = release_summary.trial_metadata(release_round.trial)
    return {
        **entries,
        **release_summary.mode_metadata(release_round.choice),
        **trial,
        "moved": dg.MetadataValue.md(entries["moved"]),
        "evidence": dg.MetadataValue.md(trial.get("evidence", "no trial")),
        "why": _idle_reason(newest_version, verdict, _explain_missing_consent(author))
        if not new_moves
        else "see the moves",
        "consent": author.consent or "none",
    }


def _idle_reason(newest: ModelVersion | None, verdict: Verdict | None, missing_consent: str) -> str:
    """Return why no version moved, based on the newest version's state and verdict."""
    if newest is None:
        return "no version has been registered: materialize preference_tuned_checkpoint"
    name = f"v{newest.version} is {newest.state}"
    if newest.state == "stable":
        return f"{name}: it is already released"
    if verdict is None:
        return f"{name} and has no verdict from {GATE_VERSION}: materialize checkpoint_evaluation"
    if verdict.outcome != "passed":
        return f"{name}: {describe_refusal(verdict)}"
    if missing_consent:
        return f"{name}: it has passed, but the author has not agreed: {missing_consent}"
    return f"{name}: it has passed and waits for evidence or a manual release"
