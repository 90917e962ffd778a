"""Decide the gate: the claims that a checkpoint must meet, and the verdict.

A claim is decided by its measure (`measures/`, one file each). An undecided claim prevents a
release, as does a claim that is not met. For adding a measure, see deploy/docs/contributing.md.

The first part of the gate (`FIRST_CLAIMS`) releases a first model that does no harm and has learned
something. The alternative is the base model, so claims about the size of the improvement can wait.
The other claims are decided after the release, which is withdrawn if one of them is not met. If
there is a stable version, the whole gate is decided before a release. Claims that have never
refused a version alone are measured only on request (`claims_on_request.py`).
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from twin_assets.evaluation.measures import MEASURES
from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext
from twin_resources.registry.moves import GateClaim

# Increase this whenever a claim, a threshold or a measurement is added or changes. A verdict of
# another gate version releases nothing. A removed claim needs no new version: a candidate
# that met all claims also met the remaining ones.
GATE_VERSION = "gate-18"

RULES: Mapping[str, ClaimRule] = {
    rule.name: rule for measure in MEASURES for rule in measure.claims
}
# Claims of the asset `claims_on_request`, which prevent no release.
CLAIMS_ON_REQUEST = tuple(name for name, rule in RULES.items() if rule.is_on_request)
# Claims that can refuse a version.
CLAIMS = tuple(name for name, rule in RULES.items() if not rule.is_on_request)
# Claims decided before a first model answers readers; `evaluation_report` decides the others.
FIRST_CLAIMS = tuple(name for name, rule in RULES.items() if rule.is_in_first_verdict)


def decide_claims(
    context: MeasureContext, measures: Iterable[Measure] = MEASURES
) -> tuple[GateClaim, ...]:
    """Return the claims of the measures.

    Values that are not finite are left out, because JSON in PostgreSQL and Langfuse has no NaN. The
    claim's detail still reports them.
    """
    return tuple(
        replace(claim, value=_finite_or_none(claim.value), high=_finite_or_none(claim.high))
        for measure in measures
        for claim in measure.decide_claims(context)
    )


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def select_claims(claims: Iterable[GateClaim], names: Sequence[str]) -> tuple[GateClaim, ...]:
    """Return the claims with these names, in the order of the names."""
    claims_by_name = {claim.name: claim for claim in claims}
    return tuple(claims_by_name[name] for name in names if name in claims_by_name)


def is_full_gate(claims: Sequence[GateClaim]) -> bool:
    """Return whether the claims come from the whole gate, not only from its first part."""
    return any(claim.name not in FIRST_CLAIMS for claim in claims)


def decide_outcome(claims: Sequence[GateClaim]) -> Literal["passed", "failed", "not_decided"]:
    """Return `passed` if every claim is met, `failed` if any is not met, or `not_decided`.

    Claims that block only one form of answer do not count.
    """
    results = [claim.passed for claim in claims if not claim.blocks]
    if any(result is False for result in results):
        return "failed"
    return "passed" if all(results) else "not_decided"
