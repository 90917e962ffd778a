"""Judge an author's first model in the same way as `retrain_twin`: first verdict, full gate.

Scope: the three steps without Dagster. Out of scope: which candidate fails which claim
(`test_broken_candidates.py`).
"""

from __future__ import annotations

from twin_assets.evaluation import gate
from twin_assets.evaluation.judgement import JudgingSetup, complete_evaluation, judge_candidate
from twin_resources.registry.moves import GateClaim
from twin_resources.registry.registry import reconcile

# Each model still reads the minimum of 30 passages, whatever the token budget. With 30 questions,
# answers that do not depend on their questions are not told from a base that misses the limit too.
SHORT_GATE_SETTINGS = {"evaluation_tokens": 6000, "evaluation_questions": 60}


def run_two_stage_gate(setup: JudgingSetup) -> dict[str, GateClaim]:
    """Return all claims of the full gate by name, including those on request.

    The full gate must reach the same decision as the first verdict on every claim in it. A version
    that fails it must not stay released.
    """
    registry = setup.registry
    first_evaluation = judge_candidate(setup)
    assert {claim.name for claim in first_evaluation.verdict.claims} == set(gate.FIRST_CLAIMS)
    gate_version = gate.GATE_VERSION
    reconcile(
        registry, setup.author, gate_version=gate_version, mode="gate", actor="released_model"
    )
    is_released = _is_stable(setup, first_evaluation.verdict.checkpoint)
    assert is_released is (first_evaluation.verdict.outcome == "passed")

    full_evaluation = complete_evaluation(setup, has_claims_on_request=True)

    is_still_released = _is_stable(setup, full_evaluation.verdict.checkpoint)
    assert is_still_released is (is_released and full_evaluation.verdict.outcome == "passed")
    assert bool(full_evaluation.withdrawn_version) is (is_released and not is_still_released)
    advisory_claims = gate.select_claims(full_evaluation.evaluation.claims, gate.CLAIMS_ON_REQUEST)
    claims = {claim.name: claim for claim in (*full_evaluation.verdict.claims, *advisory_claims)}
    assert set(claims) == set(gate.RULES)
    differences = [
        (claim, claims[claim.name])
        for claim in first_evaluation.verdict.claims
        if claim.passed is not claims[claim.name].passed
    ]
    assert not differences
    return claims


def _is_stable(setup: JudgingSetup, checkpoint: str) -> bool:
    stable = setup.registry.stable_version(setup.author)
    return stable is not None and stable.checkpoint == checkpoint
