"""The gate: which claims a checkpoint must meet, and the verdict.

Scope: which claims decide, which are stated only, the outcome.
Out of scope: measures with their claims and thresholds (`measures/`, a file each),
measuring (`measurement.py`), storing the verdict (`registry/`), moving a version.
Method: deploy/docs/architecture.md, The gate. A claim that could not be decided refuses like one
that is not met. A new measure: deploy/docs/contributing.md.

A first model is released by the first part of the gate (`FIRST_CLAIMS`: what can harm, and whether
it learnt anything at all); what answers beside it is the base model, so that what is left open is
how much better it is. The rest follows, and takes the release back where it does not hold. Beside a
stable version everything is decided first.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from twin_assets.evaluation.measures import MEASURES, held_out_perplexity, voice_scores
from twin_assets.evaluation.measures.measure import ClaimRule, Measure, Measurements
from twin_resources.registry.moves import GateClaim

# Goes up whenever a claim, a threshold or a measurement changes: verdicts of another gate version
# release nothing.
GATE_VERSION = "gate-13"

RULES: Mapping[str, ClaimRule[Any]] = {
    rule.name: rule for measure in MEASURES for rule in measure.claims
}
CLAIMS = tuple(RULES)
# Before a first model answers anybody. The others follow (`evaluation_report`).
FIRST_CLAIMS = tuple(name for name, rule in RULES.items() if rule.first)
# What no small base model has shown is stated and refuses nothing.
STATED_FOR_SMALL_BASES = frozenset(
    name for name, rule in RULES.items() if rule.stated_for_small_bases
)


def decide(measured: Measurements) -> tuple[GateClaim, ...]:
    """Every claim that may refuse, in the order of `CLAIMS`."""
    return tuple(one for one in _every(measured) if one.name not in _only_stated(measured))


def decide_first(measured: Measurements) -> tuple[GateClaim, ...]:
    """The claims that are decided before a first model is released."""
    return tuple(one for one in _every(measured) if one.name in FIRST_CLAIMS)


def is_whole(claims: Sequence[GateClaim]) -> bool:
    """Whether a verdict of these claims is of the whole gate, or of its first part alone."""
    return any(claim.name not in FIRST_CLAIMS for claim in claims)


def stated(measured: Measurements) -> tuple[GateClaim, ...]:
    """The claims that are told and refuse nothing: those that a small base model cannot meet."""
    return tuple(one for one in _every(measured) if one.name in _only_stated(measured))


def outcome_of(claims: Sequence[GateClaim]) -> Literal["passed", "failed", "not_decided"]:
    """`passed` when every claim is met, `failed` when one is not met, else `not_decided`; one that
    blocks a form of answers alone does not count."""
    met = [claim.passed for claim in claims if not claim.blocks]
    if any(one is False for one in met):
        return "failed"
    return "passed" if all(met) else "not_decided"


def _every(measured: Measurements) -> tuple[GateClaim, ...]:
    return tuple(
        _without_nan(_claim(measure, rule, measured))
        for measure in MEASURES
        for rule in measure.claims
    )


def _claim(measure: Measure[Any], rule: ClaimRule[Any], measured: Measurements) -> GateClaim:
    value = measured.of(measure)
    if value is not None:
        return rule.decide(value)
    decided = rule.without(measured) if rule.without is not None else None
    return decided or replace(_undecided(rule.name, measured), blocks=rule.blocks)


def _undecided(name: str, measured: Measurements) -> GateClaim:
    why = measured.why_not.get(name)
    if why is not None:
        return GateClaim(name, None, None, None, f"not decided: {why}")
    held_out = measured.of(held_out_perplexity.MEASURE)
    passages = 0 if held_out is None else held_out.passages
    return held_out_perplexity.undecided_of_few(name, passages, None)


def _without_nan(one: GateClaim) -> GateClaim:
    """Weights that are no numbers measure none, and neither PostgreSQL's JSON nor Langfuse's has
    one; the words still tell it."""
    return replace(one, value=_finite(one.value), high=_finite(one.high))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _only_stated(measured: Measurements) -> frozenset[str]:
    parameters = measured.base_parameters
    small = parameters is not None and parameters < voice_scores.BLOCKS_FROM
    return STATED_FOR_SMALL_BASES if small else frozenset()
