"""A first model judged as `retrain_twin` does it: first part, release, whole gate.

Scope: the three steps without Dagster. Out of scope: which candidate offends which
claim (`test_broken_candidates.py`).
"""

from __future__ import annotations

from twin_assets.evaluation import gate
from twin_assets.evaluation.judgement import JudgingSetup, complete_evaluation, judge_candidate
from twin_resources.registry.moves import GateClaim
from twin_resources.registry.registry import reconcile


def judged_in_two_parts(judging: JudgingSetup) -> dict[str, GateClaim]:
    """All claims of the whole gate, by name, those that are stated only among them.

    What the first part has found may differ in its figures and must not in its outcome; what
    offends the whole gate does not stay released.
    """
    first = judge_candidate(judging)
    assert {claim.name for claim in first.verdict.claims} == set(gate.FIRST_CLAIMS)
    reconcile(
        judging.registry,
        judging.author,
        gate_version=gate.GATE_VERSION,
        mode="gate",
        actor="released_model",
    )
    stable = judging.registry.stable_version(judging.author)
    released = stable is not None and stable.checkpoint == first.verdict.checkpoint
    assert released is (first.verdict.outcome == "passed")

    whole = complete_evaluation(judging)

    stable = judging.registry.stable_version(judging.author)
    stays = stable is not None and stable.checkpoint == whole.verdict.checkpoint
    assert stays is (released and whole.verdict.outcome == "passed")
    assert bool(whole.withdrawn_version) is (released and not stays)
    told = {
        claim.name: claim
        for claim in (*whole.verdict.claims, *gate.advisory_claims(whole.evaluation.measured))
    }
    assert set(told) == set(gate.CLAIMS)
    differ = [
        f"{one.name}: {one.passed} by {one.detail}; the whole gate {told[one.name].passed} by "
        f"{told[one.name].detail}"
        for one in first.verdict.claims
        if one.passed is not told[one.name].passed
    ]
    assert not differ, differ
    return told
