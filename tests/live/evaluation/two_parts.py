"""Judge a first model as `retrain_twin` does: first verdict, release, whole gate.

Scope: the three steps without Dagster. Out of scope: which candidate fails which claim
(`test_broken_candidates.py`).
"""

from __future__ import annotations

from twin_assets.evaluation import gate
from twin_assets.evaluation.judgement import JudgingSetup, complete_evaluation, judge_candidate
from twin_resources.registry.moves import GateClaim
from twin_resources.registry.registry import reconcile

SHORT_GATE = {"evaluation_tokens": 6000, "evaluation_questions": 30}  # still reads 30 passages


def judge_in_two_parts(setup: JudgingSetup) -> dict[str, GateClaim]:
    """Return all claims of the whole gate by name, including the advisory claims.

    The whole gate must decide each claim of the first verdict alike. A version that fails it must
    not stay released.
    """
    registry = setup.registry
    first = judge_candidate(setup)
    assert {claim.name for claim in first.verdict.claims} == set(gate.FIRST_CLAIMS)
    gate_version = gate.GATE_VERSION
    reconcile(
        registry, setup.author, gate_version=gate_version, mode="gate", actor="released_model"
    )
    is_released = _is_stable(setup, first.verdict.checkpoint)
    assert is_released is (first.verdict.outcome == "passed")

    whole = complete_evaluation(setup)

    is_kept = _is_stable(setup, whole.verdict.checkpoint)
    assert is_kept is (is_released and whole.verdict.outcome == "passed")
    assert bool(whole.withdrawn_version) is (is_released and not is_kept)
    advisory_claims = gate.advisory_claims(whole.evaluation.measured)
    claims = {claim.name: claim for claim in (*whole.verdict.claims, *advisory_claims)}
    assert set(claims) == set(gate.CLAIMS)
    differences = [
        (claim, claims[claim.name])
        for claim in first.verdict.claims
        if claim.passed is not claims[claim.name].passed
    ]
    assert not differences
    return claims


def _is_stable(setup: JudgingSetup, checkpoint: str) -> bool:
    stable = setup.registry.stable_version(setup.author)
    return stable is not None and stable.checkpoint == checkpoint
