"""Choose a candidate's release mode from measurements, and evaluate the evidence of its trial.

Scope: the choice of mode with its reason, the rule that parks a trial, and the description of a
trial's progress.
Out of scope: the test (`statistics/promotion.py`), the moves (`registry/moves.py`).
Method: `statistics/promotion.py`. A version is parked if the trial is undecided when the prompts
are used up. Parking does not show that the version is worse.
"""
# pyright: strict

from __future__ import annotations

import math
from dataclasses import dataclass

from twin_resources.registry.moves import MAX_RATIO_TO_INCUMBENT, ReleaseMode, TrialResult
from twin_resources.statistics.bets import log_mean_wealth
from twin_resources.statistics.promotion import (
    DEFAULT_SPREAD,
    NON_INFERIORITY_MARGIN,
    PairEvidence,
    estimate_trial_pairs,
    expected_pairs,
    final_verdict,
    mean_difference,
    mean_lower_bound,
)

MIN_PROMPTS = 300
GATE_REQUIREMENT = (
    "the gate must show that a version is no worse than the stable one: the upper end of its "
    f"perplexity ratio's interval is at most {MAX_RATIO_TO_INCUMBENT:g}"
)


@dataclass(frozen=True)
class TrialFeasibility:
    """The measurements from which a mode is chosen.

    Attributes:
        certified_claims: the claims with a certified judge (`judges/panel.py`).
        prompt_count: the number of recorded prompts that can be replayed.
        margin: ε.
        min_prompts: the number of prompts that a shadow needs. The demo needs only 60 and says so.
    """

    certified_claims: tuple[str, ...]
    prompt_count: int
    margin: float = NON_INFERIORITY_MARGIN
    min_prompts: int = MIN_PROMPTS


@dataclass(frozen=True)
class ModeChoice:
    """A release mode and its reason.

    Attributes:
        expected_pairs: the pairs needed to promote an equal model; 0 in mode `gate`.
    """

    mode: ReleaseMode
    reason: str
    expected_pairs: float


def choose_mode(feasibility: TrialFeasibility) -> ModeChoice:
    """Choose a shadow if certified judges have enough prompts, else the gate.

    In mode `gate`, the gate is stricter than before a trial (`moves.compare_with_incumbent`).
    """
    pairs = expected_pairs(DEFAULT_SPREAD, margin=feasibility.margin)
    if feasibility.certified_claims and feasibility.prompt_count >= feasibility.min_prompts:
        claims = " and ".join(feasibility.certified_claims)
        reason = (
            f"shadow: a certified judge of {claims} and {feasibility.prompt_count:,} prompts to "
            f"replay; the trial may end earlier if the version proves better or worse"
        )
        return ModeChoice("shadow", reason, pairs)
    judge_note = (
        f"only {feasibility.prompt_count:,} of {feasibility.min_prompts:,} prompts to replay"
        if feasibility.certified_claims
        else "no certified judge"
    )
    return ModeChoice("gate", f"gate: {judge_note}; {GATE_REQUIREMENT}", 0.0)


def evaluate_evidence(
    evidence: PairEvidence,
    *,
    mode: ReleaseMode,
    is_exhausted: bool,
    is_certified: bool = True,
) -> TrialResult:
    """Return the result of a trial from its evidence, for `moves.required_moves`.

    Args:
        is_exhausted: whether the prompts are used up. It is true only once, because the trial then
            ends.
        is_certified: whether every judge still has its certificate. Otherwise, the trial is not
            decided.
    """
    progress = f"{evidence.pairs} of about {estimate_trial_pairs(evidence):.0f} pairs"
    bets_text = _describe_bets(evidence)
    if not is_certified:
        reason = (
            f"{mode}: parked, because the judge has lost its certificate"
            if is_exhausted
            else f"{mode}: undecided, because the judge has no certificate"
        )
        return TrialResult("exhausted" if is_exhausted else "undecided", f"{reason} ({progress})")
    verdict = final_verdict(evidence) if is_exhausted else evidence.verdict
    if verdict == "roll_back":
        return TrialResult("roll_back", f"{mode}: worse than the stable version; {bets_text}")
    if verdict == "promote":
        reason = f"{mode}: {_describe_win(evidence)}, after {evidence.pairs} pairs; {bets_text}"
        return TrialResult("promote", reason)
    if is_exhausted:
        mean_note = f"; {_describe_mean(evidence)}" if evidence.is_not_worse else ""
        return TrialResult("exhausted", f"{mode}: parked, {progress}; {bets_text}{mean_note}")
    return TrialResult("undecided", f"{mode}: {progress}; {bets_text}")


def _describe_win(evidence: PairEvidence) -> str:
    if evidence.is_better or not evidence.margin:  # with ε = 0, "not worse" means "better"
        return "better"
    return f"not worse by {evidence.margin:g} or more, and {_describe_mean(evidence)}"


def _describe_mean(evidence: PairEvidence) -> str:
    """Describe the mean difference, and its lower bound at the end of the trial."""
    mean, error = mean_difference(evidence)
    lower_bound = mean_lower_bound(evidence)
    message = f"on average {mean:+.3f} ± {error:.3f}"
    return message if lower_bound == mean else f"{message}, so at least {lower_bound:+.3f}"


def _describe_bets(evidence: PairEvidence) -> str:
    """Describe U of the weakest claim and D of the worst claim, with their thresholds."""
    # Against an incumbent that passed no gate, "better" is the only bet.
    log_e_values = evidence.highest or {"better": log_mean_wealth(evidence.better)}
    weakest_claim = min(log_e_values, key=lambda name: log_e_values[name])
    worst_claim = max(evidence.down, key=lambda name: log_mean_wealth(evidence.down[name]))
    return (
        f"promotion {math.exp(min(700.0, log_e_values[weakest_claim])):.3g} of "
        f"{math.exp(evidence.log_promotion_threshold):.0f} ({weakest_claim}), rollback "
        f"{math.exp(min(700.0, log_mean_wealth(evidence.down[worst_claim]))):.3g} of "
        f"{math.exp(evidence.log_rollback_threshold):.0f} ({worst_claim})"
    )
