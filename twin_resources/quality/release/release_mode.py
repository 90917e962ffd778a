"""Choose how a candidate is tried out from what can be measured, and pair canary days.

Scope: the choice of mode with its reason, the differences of a canary, the rule that parks a trial,
a line on its progress.
Out of scope: the test (`promotion.py`), the moves (`registry/moves.py`).
Method: `promotion.py`. A parked version (undecided when the prompts or days are used up) is not
rolled back for harm.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from twin_resources.registry.moves import MAX_RATIO_TO_INCUMBENT, Evidence, Mode
from twin_resources.statistics.baseline import MARGIN, duration
from twin_resources.statistics.bets import log_mean
from twin_resources.statistics.promotion import (
    ALPHA,
    SPREAD,
    PairedDifference,
    PairEvidence,
    at_the_end,
    expected_pairs,
    least_mean,
    mean_difference,
    pairs_expected,
)

MIN_PROMPTS = 300
MAX_CANARY_DAYS = 14.0
MIN_READERS = 30
MORE_IS_ASKED = (
    "a version beside a stable one must be shown to be no worse in the gate: the upper end of its "
    f"perplexity ratio's interval is at most {MAX_RATIO_TO_INCUMBENT:g}"
)


@dataclass(frozen=True)
class TrialFeasibility:
    """The measurements from which a mode is chosen.

    Attributes:
        certified: claims with a certified measure (`judges.py`).
        prompts: number of recorded prompts that can be replayed.
        canary_values_per_day: settled values a day that a canary would get: measured score rate
            × share of traffic.
        canary_readers: number of distinct readers expected in a canary.
        margin, alpha: ε and α.
        fewest_prompts: prompts that a shadow needs: 300; the demo uses 60, and prints it.
    """

    certified: tuple[str, ...]
    prompts: int
    canary_values_per_day: float
    canary_readers: int
    margin: float = MARGIN
    alpha: float = ALPHA
    fewest_prompts: int = MIN_PROMPTS


@dataclass(frozen=True)
class Choice:
    """A release mode and its reason.

    Attributes:
        expected_pairs: pairs needed to promote an equal model; 0 in mode `gate`.
        expected_days: duration of a canary, infinite without scores; 0 in the other modes.
    """

    mode: Mode
    reason: str
    expected_pairs: float
    expected_days: float


def choose(trial: TrialFeasibility) -> Choice:
    """Choose shadow if a certified judge has enough prompts, else a short enough canary, else gate.

    The gate then requires more of a version than before a trial (`moves.shown_no_worse`).
    """
    pairs = expected_pairs(SPREAD, margin=trial.margin, alpha=trial.alpha)
    if trial.certified and trial.prompts >= trial.fewest_prompts:
        claims = " and ".join(trial.certified)
        reason = (
            f"shadow: a certified judge of {claims} and {trial.prompts:,} prompts to replay, all "
            f"of them unless it is shown before to be better or worse"
        )
        return Choice("shadow", reason, pairs, 0.0)
    judge = (
        f"only {trial.prompts:,} of {trial.fewest_prompts:,} prompts to replay"
        if trial.certified
        else "no certified judge"
    )
    rate = trial.canary_values_per_day
    days = pairs / rate if rate > 0.0 else math.inf
    message = f"about {duration(days)}" if math.isfinite(days) else "without end: nobody scores"
    if days <= MAX_CANARY_DAYS and trial.canary_readers >= MIN_READERS:
        reason = f"canary: {judge}; about {pairs:.0f} reader-days at {rate:.3g} a day, {message}"
        return Choice("canary", reason, pairs, days)
    why = (
        f"a canary would take {message}, more than {MAX_CANARY_DAYS:.0f} days"
        if days > MAX_CANARY_DAYS
        else f"a canary would have {trial.canary_readers} of the {MIN_READERS} readers needed"
    )
    return Choice("gate", f"gate: {judge}; {why}; {MORE_IS_ASKED}", 0.0, 0.0)


def canary_pairs(
    values: Sequence[tuple[int, str, str, float]], *, candidate: str, incumbent: str, claim: str
) -> list[PairedDifference]:
    """Return each canary value minus the mean of the incumbent's waiting values of the same class.

    Each incumbent value is used once, for the next canary value of its class. A canary value
    without a waiting incumbent value gives no pair. A pair has the sequence number of its canary
    value, so that a replay is recognized.

    Args:
        values: settled values of one author and stream in order, of both versions: sequence
            number, version, class and value.
        claim: name of the claim that the stream measures.
    """
    waiting: dict[str, list[float]] = {}
    pairs: list[PairedDifference] = []
    for sequence, version, prompt_class, value in values:
        if version == incumbent:
            waiting.setdefault(prompt_class, []).append(value)
        elif version == candidate and (incumbent_values := waiting.pop(prompt_class, [])):
            difference = value - math.fsum(incumbent_values) / len(incumbent_values)
            pairs.append(PairedDifference(sequence, {claim: max(-1.0, min(1.0, difference))}))
    return pairs


def finding(
    evidence: PairEvidence,
    *,
    mode: Mode,
    exhausted: bool,
    readers: int | None = None,
    certified: bool = True,
) -> Evidence:
    """Return the evidence about a version on trial for `moves.legal_moves`.

    Args:
        exhausted: whether prompts are used up, or 14 days of canary are over; true only once, since
            the trial then ends.
        readers: number of distinct canary readers, if thumbs decide; under 30 may only veto.
        certified: whether every measure still has its certificate; otherwise nothing is decided.
    """
    progress = f"{evidence.pairs} of about {pairs_expected(evidence):.0f} pairs"
    strength = _strength(evidence)
    if not certified:
        reason = (
            f"{mode}: parked, the judge has lost its certificate"
            if exhausted
            else (f"{mode}: nothing decided, the judge has no certificate")
        )
        return Evidence("exhausted" if exhausted else "undecided", f"{reason} ({progress})")
    verdict = at_the_end(evidence) if exhausted else evidence.verdict
    if verdict == "roll_back":
        return Evidence("roll_back", f"{mode}: worse than the stable version; {strength}")
    too_few = readers is not None and readers < MIN_READERS
    if verdict == "promote" and not too_few:
        reason = f"{mode}: {_won(evidence)}, after {evidence.pairs} pairs; {strength}"
        return Evidence("promote", reason)
    held = f"; {readers} of {MIN_READERS} readers needed to promote" if too_few else ""
    if exhausted:
        lost = f"; {_on_average(evidence)}" if evidence.is_not_worse and not too_few else ""
        return Evidence("exhausted", f"{mode}: parked, {progress}; {strength}{lost}{held}")
    return Evidence("undecided", f"{mode}: {progress}; {strength}{held}")


def _won(evidence: PairEvidence) -> str:
    if evidence.is_better or not evidence.margin:  # not worse by 0 is better
        return "better"
    return f"not worse by {evidence.margin:g} or more, and {_on_average(evidence)}"


def _on_average(evidence: PairEvidence) -> str:
    """Describe the mean difference, and the bound that is used at the end."""
    mean, error = mean_difference(evidence)
    least = least_mean(evidence)
    message = f"on average {mean:+.3f} ± {error:.3f}"
    return message if least == mean else f"{message}, so at least {least:+.3f}"


def _strength(evidence: PairEvidence) -> str:
    """Describe U of the weakest claim and D of the worst, with their thresholds."""
    # Against an incumbent that passed no gate, "better" is the only bet.
    logs = evidence.highest or {"better": log_mean(evidence.better)}
    weakest = min(logs, key=lambda name: logs[name])
    worst = max(evidence.down, key=lambda name: log_mean(evidence.down[name]))
    return (
        f"promotion {math.exp(min(700.0, logs[weakest])):.3g} of "
        f"{math.exp(evidence.log_needed_up):.0f} ({weakest}), roll-back "
        f"{math.exp(min(700.0, log_mean(evidence.down[worst]))):.3g} of "
        f"{math.exp(evidence.log_needed_down):.0f} ({worst})"
    )
