"""Evaluate the gate: the claims that a checkpoint must meet, and the verdict.

Scope: the deciding claims, the claims on request, and the outcome.
Out of scope: measures with their claims and thresholds (`measures/`, one file each), measuring
(`measurement.py`), storing the verdict (`registry/`), and moving a version.
Method: deploy/docs/architecture.md, The gate. An undecided claim prevents a release, as does a
claim that is not met. For adding a measure, see deploy/docs/contributing.md.

The first part of the gate (`FIRST_CLAIMS`) releases a first model that does no harm and has learned
something. The alternative is the base model, so claims about the size of the improvement can wait.
The other claims are decided after the release, which is withdrawn if one of them is not met. If
there is a stable version, the whole gate is decided before a release. Claims that have never
refused a version alone are measured only on request (`claims_on_request.py`).
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from twin_assets.evaluation.measures import MEASURES, held_out_perplexity
from twin_assets.evaluation.measures.measure import ClaimRule, Measure, Measurements
from twin_resources.registry.moves import GateClaim

# Increase this whenever a claim, a threshold or a measurement is added or changes. A verdict of
# another gate version releases nothing. A removed claim needs no new version: a candidate
# that met all claims also met the remaining ones, and `judgement.py` drops the removed claim when
# it reuses a stored verdict.
GATE_VERSION = "gate-18"

RULES: Mapping[str, ClaimRule[Any]] = {
    rule.name: rule for measure in MEASURES for rule in measure.claims
}
# Claims of the asset `claims_on_request`, which prevent no release.
CLAIMS_ON_REQUEST = tuple(name for name, rule in RULES.items() if rule.is_on_request)
# Claims that can refuse a version.
CLAIMS = tuple(name for name, rule in RULES.items() if not rule.is_on_request)
# Claims decided before a first model answers readers; `evaluation_report` decides the others.
FIRST_CLAIMS = tuple(name for name, rule in RULES.items() if rule.is_in_first_verdict)


def decide_claims(measurements: Measurements) -> tuple[GateClaim, ...]:
    """Return every claim that can prevent a release, in the order of `CLAIMS`."""
    return tuple(claim for claim in _decide_all(measurements) if claim.name in CLAIMS)


def decide_first_claims(measurements: Measurements) -> tuple[GateClaim, ...]:
    """Return the claims that are decided before a first model is released."""
    return tuple(claim for claim in _decide_all(measurements) if claim.name in FIRST_CLAIMS)


def is_full_gate(claims: Sequence[GateClaim]) -> bool:
    """Return whether the claims come from the whole gate, not only from its first part."""
    return any(claim.name not in FIRST_CLAIMS for claim in claims)


def decide_claims_on_request(measurements: Measurements) -> tuple[GateClaim, ...]:
    """Return the claims that prevent no release; empty if nobody asked for them."""
    if not measurements.has_claims_on_request:
        return ()
    return tuple(claim for claim in _decide_all(measurements) if claim.name in CLAIMS_ON_REQUEST)


def decide_outcome(claims: Sequence[GateClaim]) -> Literal["passed", "failed", "not_decided"]:
    """Return `passed` if every claim is met, `failed` if any is not met, or `not_decided`.

    Claims that block only one form of answer do not count.
    """
    results = [claim.passed for claim in claims if not claim.blocks]
    if any(result is False for result in results):
        return "failed"
    return "passed" if all(results) else "not_decided"


def _decide_all(measurements: Measurements) -> tuple[GateClaim, ...]:
    return tuple(
        _replace_non_finite(_decide_claim(measure, rule, measurements))
        for measure in MEASURES
        for rule in measure.claims
    )


def _decide_claim(
    measure: Measure[Any], rule: ClaimRule[Any], measurements: Measurements
) -> GateClaim:
    value = measurements.get(measure)
    if value is not None:
        return rule.decide(value)
    claim = rule.decide_missing(measurements) if rule.decide_missing is not None else None
    return claim or replace(_build_undecided_claim(rule.name, measurements), blocks=rule.blocks)


def _build_undecided_claim(name: str, measurements: Measurements) -> GateClaim:
    reason = measurements.why_not.get(name)
    if reason is not None:
        return GateClaim(name, None, None, None, f"not decided: {reason}")
    held_out = measurements.get(held_out_perplexity.MEASURE)
    passage_count = 0 if held_out is None else held_out.passages
    return held_out_perplexity.build_few_passages_claim(name, passage_count, None)


def _replace_non_finite(claim: GateClaim) -> GateClaim:
    """Replace values that are not finite, because JSON in PostgreSQL and Langfuse has no NaN.

    The claim's detail still reports them.
    """
    return replace(claim, value=_finite_or_none(claim.value), high=_finite_or_none(claim.high))


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
