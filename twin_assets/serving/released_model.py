"""The asset `released_model`: the registry reconciled, which may release the candidate.

Belongs here: asking for the reconciliation and telling what moved, or why nothing did.
Does not belong here: which moves are legal (`registry_moves.py`), moving (`registry.py`), the gate.

A version is released only with a PASSED verdict for exactly its checkpoint under the gate's current
version, in whatever run this asset is materialized; twice in a row moves nothing the second time.
"""

from collections.abc import Sequence
from typing import cast

import dagster as dg

from twin_assets.evaluation.gate import GATE_VERSION
from twin_assets.partitions import authors
from twin_resources.dagster_resources import RegistryResource, SettingsResource
from twin_resources.registry_moves import Mode, ModelVersion, Move, Verdict, refusal

ACTOR = "released_model"


@dg.asset(
    group_name="serving",
    partitions_def=authors,
    deps=["checkpoint_evaluation"],
    kinds={"sqlite"},
)
def released_model(
    context: dg.AssetExecutionContext, settings: SettingsResource, registry: RegistryResource
) -> dg.MaterializeResult:
    """The model registry, reconciled: a candidate that passed the gate becomes stable."""
    from twin_resources.registry import reconcile

    author = context.partition_key
    mode = cast("Mode", settings.author(author).release_mode)
    models = registry.registry()
    moves = reconcile(models, author, gate_version=GATE_VERSION, mode=mode, actor=ACTOR)
    stable, versions = models.stable(author), models.versions(author)
    newest = versions[-1] if versions else None
    verdict = models.verdict(newest.checkpoint, GATE_VERSION) if newest else None
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"v{stable.version}-{stable.checkpoint}" if stable else "base"),
        metadata={
            "stable": f"v{stable.version}" if stable else "none: base model + retrieval answer",
            "checkpoint": stable.checkpoint if stable else "",
            "release_mode": mode,
            "moved": dg.MetadataValue.md(_moved(moves) or "nothing"),
            "why": _why(newest, verdict) if not moves else "see the moves",
        },
    )


def _moved(moves: Sequence[Move]) -> str:
    return "\n".join(
        f"- v{move.version}: {move.from_state} → {move.to_state} ({move.reason})" for move in moves
    )


def _why(newest: ModelVersion | None, verdict: Verdict | None) -> str:
    """Why nothing moved, from the newest version's state and verdict."""
    if newest is None:
        return "no version was ever registered: materialize preference_tuned_checkpoint"
    name = f"v{newest.version} is {newest.state}"
    if newest.state == "stable":
        return f"{name}: it is released already"
    if verdict is None:
        return f"{name} and has no verdict of {GATE_VERSION}: materialize checkpoint_evaluation"
    if verdict.outcome != "passed":
        return f"{name}: {refusal(verdict)}"
    return f"{name}: it has passed and waits for evidence or for a person"
