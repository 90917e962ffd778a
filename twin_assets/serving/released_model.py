"""Define the asset `released_model`: the reconciled registry, which may release the candidate.

Scope: requesting one round of release, and reporting what moved, or why nothing did.
Out of scope: legal moves (`registry/moves.py`), moving (`registry/`), the order
of a round (`release/releasing.py`), the gate.

Nothing is released without the author's consent (`twin_resources/authors/consent.py`); earlier
releases stay. A version is released only with a PASSED verdict for exactly its checkpoint under the
gate's current version, whatever run materializes this asset. A second materialization moves
nothing.
"""

import time
from typing import TYPE_CHECKING, Any

import dagster as dg

from twin_assets.evaluation.gate import GATE_VERSION
from twin_assets.partitions import authors
from twin_resources.authors import Author, read_author
from twin_resources.authors.consent import consented_on, what_is_missing
from twin_resources.dagster_history import newest_metadata
from twin_resources.registry.moves import ModelVersion, Verdict, refusal
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
    """The model registry, reconciled: a candidate that passed the gate is tried or released."""
    author = read_author(settings, context.partition_key)
    done = _release(context.instance, author, settings, registry, tables)
    stable = registry.stable(author.slug)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"v{stable.version}-{stable.checkpoint}" if stable else "base"),
        metadata=_metadata(context.instance, author, registry, done),
    )


def _release(
    instance: dg.DagsterInstance, author: Author, home: Settings, models: Registry, tables: Tables
) -> "ReleaseRound":
    from twin_resources.quality.release.releasing import release_measured

    return release_measured(
        models,
        tables,
        author.slug,
        wanted=author.release_mode,
        gate_version=GATE_VERSION,
        actor=ACTOR,
        now=time.time(),
        replayed=newest_metadata(instance, "shadow_pairs", author.slug),
        margin=home.margin,
        fewest_prompts=home.trial_prompts,
        withheld=_withheld(author),
    )


def _withheld(author: Author) -> str:
    """Return what is missing for the author's consent; empty if nothing is."""
    return what_is_missing(author) if consented_on(author) is None else ""


def _metadata(
    instance: dg.DagsterInstance, author: Author, models: Registry, done: "ReleaseRound"
) -> dict[str, Any]:
    """Return the moves since the newest materialization, or why there were none."""
    from twin_resources.quality.release import release_summary

    versions = models.versions(author.slug)
    newest = versions[-1] if versions else None
    verdict = models.verdict(newest.checkpoint, GATE_VERSION) if newest else None
    last = int(newest_metadata(instance, "released_model", author.slug).get("move", 0))
    moved = release_summary.untold(models.moves(author.slug), last)
    entries = release_summary.release_metadata(models.stable(author.slug), moved, last=last)
    trial = release_summary.trial_metadata(done.trial)
    return {
        **entries,
        **release_summary.mode_metadata(done.choice),
        **trial,
        "moved": dg.MetadataValue.md(entries["moved"]),
        "evidence": dg.MetadataValue.md(trial.get("evidence", "no trial")),
        "why": _why(newest, verdict, _withheld(author)) if not moved else "see the moves",
        "consent": author.consent or "none",
    }


def _why(newest: ModelVersion | None, verdict: Verdict | None, withheld: str) -> str:
    """Return why nothing moved, from the newest version's state and verdict."""
    if newest is None:
        return "no version was ever registered: materialize preference_tuned_checkpoint"
    name = f"v{newest.version} is {newest.state}"
    if newest.state == "stable":
        return f"{name}: it is released already"
    if verdict is None:
        return f"{name} and has no verdict of {GATE_VERSION}: materialize checkpoint_evaluation"
    if verdict.outcome != "passed":
        return f"{name}: {refusal(verdict)}"
    if withheld:
        return f"{name}: it has passed, and the author has not agreed: {withheld}"
    return f"{name}: it has passed and waits for evidence or for a person"
