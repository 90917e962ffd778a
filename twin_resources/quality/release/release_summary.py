"""Summarize a release round as plain values for metadata.

Scope: the mode, the moves and the evidence in words and numbers, for the asset, the sensor and the
job.
Out of scope: the round (`releasing.py`), any text by an author or reader.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from twin_resources.quality.release.release_mode import ModeChoice
from twin_resources.quality.release.trial_rows import StoredTrial
from twin_resources.registry.moves import ModelVersion, Move
from twin_resources.statistics.bets import log_mean_wealth
from twin_resources.statistics.promotion import estimate_trial_pairs, mean_difference

NO_STABLE = "none: base model + retrieval answer"


def unreported_moves(moves: Sequence[Move], last_move_number: int) -> list[Move]:
    """Return the moves that no `released_model` record contains yet, except those to `candidate`.

    Args:
        moves: an author's history.
        last_move_number: `move` in the newest record's metadata, or 0 if there is no record.
    """
    return [
        move for move in moves if move.number > last_move_number and move.to_state != "candidate"
    ]


def release_metadata(
    stable: ModelVersion | None, moves: Sequence[Move], *, last_move_number: int = 0
) -> dict[str, Any]:
    """Return the metadata of a `released_model` record.

    Args:
        moves: the moves that this record reports.
        last_move_number: `move` of the previous record.
    """
    return {
        "stable": f"v{stable.version}" if stable else NO_STABLE,
        "checkpoint": stable.checkpoint if stable else "",
        "moved": "\n".join(f"- {describe_move(move)}" for move in moves) or "nothing",
        "move": max([last_move_number, *(move.number for move in moves)]),
    }


def describe_move(move: Move) -> str:
    """Describe a move in one line."""
    return f"v{move.version}: {move.from_state} → {move.to_state} by {move.actor} ({move.reason})"


def mode_metadata(choice: ModeChoice) -> dict[str, Any]:
    """Return the release mode with its reason, expected pairs and expected days."""
    entries: dict[str, Any] = {"release_mode": choice.mode, "mode_because": choice.reason}
    if choice.expected_pairs:
        entries["expected_pairs"] = round(choice.expected_pairs)
    return entries


def trial_metadata(trial: StoredTrial | None) -> dict[str, Any]:
    """Return the state of a trial, with its evidence and thresholds."""
    if trial is None:
        return {"trial": "none"}
    evidence, candidate = trial.evidence, trial.candidate
    return {
        "trial": f"v{candidate.version} against v{candidate.incumbent}, {candidate.mode}",
        "finding": trial.finding.reason,
        "pairs": evidence.pairs,
        "expected_pairs": round(estimate_trial_pairs(evidence)),
        "margin": evidence.margin,
        "mean_difference": "{:+.3f} ± {:.3f}".format(*mean_difference(evidence)),
        "evidence": render_evidence_table(trial),
    }


def render_evidence_table(trial: StoredTrial) -> str:
    """Return a Markdown table with each bet, its e-value and its threshold."""
    evidence = trial.evidence
    up_threshold, down_threshold = (
        _format_e_value(evidence.log_promotion_threshold),
        _format_e_value(evidence.log_rollback_threshold),
    )
    rows = [
        f"| promote: {name} | {_format_e_value(log_e_value)} | {up_threshold} |"
        for name, log_e_value in sorted(evidence.highest.items())
    ]
    rows.append(
        f"| promote at once: better | {_format_e_value(log_mean_wealth(evidence.better))} | "
        f"{up_threshold} |"
    )
    rows += [
        f"| roll back: {name} | {_format_e_value(log_mean_wealth(wealths))} | {down_threshold} |"
        for name, wealths in evidence.down.items()
    ]
    return "\n".join(["| bet | e-value | needed |", "|---|---|---|", *rows])


def _format_e_value(log_e_value: float) -> str:
    return f"{math.exp(min(700.0, log_e_value)):.3g}"
