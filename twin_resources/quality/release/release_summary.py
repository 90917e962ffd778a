"""What a round of release says of itself, as plain values for metadata.

Scope: mode and evidence in words and numbers, for asset, sensor and job alike.
Out of scope: finding them out (`releasing.py`), any text of an author or reader.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from twin_resources.quality.release.release_mode import Choice
from twin_resources.quality.release.trial_rows import StoredTrial
from twin_resources.registry.moves import ModelVersion, Move
from twin_resources.statistics.bets import log_mean
from twin_resources.statistics.promotion import mean_difference, pairs_expected

NO_STABLE = "none: base model + retrieval answer"


def untold(moves: Sequence[Move], last: int) -> list[Move]:
    """Moves after the one of which the newest record tells, by whomever they were made.

    Args:
        moves: an author's history. last: `move` in the metadata of that record; 0: none.
    """
    return [move for move in moves if move.number > last and move.to_state != "candidate"]


def release_metadata(
    stable: ModelVersion | None, moves: Sequence[Move], *, last: int = 0
) -> dict[str, Any]:
    """What every record of `released_model` has.

    Args:
        moves: that this record tells of. last: `move` of the record before.
    """
    return {
        "stable": f"v{stable.version}" if stable else NO_STABLE,
        "checkpoint": stable.checkpoint if stable else "",
        "moved": "\n".join(f"- {line_of(move)}" for move in moves) or "nothing",
        "move": max([last, *(move.number for move in moves)]),
    }


def line_of(move: Move) -> str:
    """One move in one line."""
    return f"v{move.version}: {move.from_state} → {move.to_state} by {move.actor} ({move.reason})"


def mode_metadata(choice: Choice) -> dict[str, Any]:
    """The release mode with its reason and what it would cost."""
    entries: dict[str, Any] = {"release_mode": choice.mode, "mode_because": choice.reason}
    if choice.expected_pairs:
        entries["expected_pairs"] = round(choice.expected_pairs)
    if choice.expected_days and math.isfinite(choice.expected_days):
        entries["expected_days"] = round(choice.expected_days, 1)
    return entries


def trial_metadata(trial: StoredTrial | None) -> dict[str, Any]:
    """Evidence of the trial against what it needs."""
    if trial is None:
        return {"trial": "none"}
    evidence, on = trial.evidence, trial.on
    return {
        "trial": f"v{on.version} against v{on.incumbent}, {on.mode}",
        "finding": trial.finding.reason,
        "pairs": evidence.pairs,
        "expected_pairs": round(pairs_expected(evidence)),
        "margin": evidence.margin,
        "mean_difference": "{:+.3f} ± {:.3f}".format(*mean_difference(evidence)),
        "evidence": evidence_table(trial),
    }


def evidence_table(trial: StoredTrial) -> str:
    """Markdown: each bet, where it stands and what it needs."""
    evidence = trial.evidence
    needed_up, needed_down = _e(evidence.log_needed_up), _e(evidence.log_needed_down)
    rows = [f"| promote: {name} | {_e(log)} | {needed_up} |" for name, log in _up(trial)]
    rows.append(f"| promote at once: better | {_e(log_mean(evidence.better))} | {needed_up} |")
    rows += [
        f"| roll back: {name} | {_e(log_mean(logs))} | {needed_down} |"
        for name, logs in evidence.down.items()
    ]
    return "\n".join(["| bet | e-value | needed |", "|---|---|---|", *rows])


def _up(trial: StoredTrial) -> list[tuple[str, float]]:
    return sorted(trial.evidence.highest.items())


def _e(log: float) -> str:
    return f"{math.exp(min(700.0, log)):.3g}"
