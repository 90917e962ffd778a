"""Test which versions trials promote, park and roll back in the registry."""

from __future__ import annotations

import random
import time

import pytest

from tests.graph.release.releases import (
    BOTH_CLAIMS,
    build_replays,
    draw_pairs,
    register_passed_candidate,
    run_release_round,
    run_round_with_pairs,
)
from tests.model_versions import register_version
from tests.queued_notices import queued_notices
from twin_assets.evaluation.gate import GATE_VERSION
from twin_resources.quality.release import trial
from twin_resources.quality.release.release_mode import ModeChoice, TrialFeasibility
from twin_resources.quality.release.release_summary import trial_metadata
from twin_resources.quality.release.release_tick import ReleaseTick, run_release_tick
from twin_resources.quality.release.releasing import (
    ReleaseRound,
    choose_mode_against_answer_model,
)
from twin_resources.quality.release.trial import TrialTerms
from twin_resources.registry.registry import Registry
from twin_resources.statistics.judge_certification import certify
from twin_resources.statistics.promotion import PairedDifference
from twin_resources.storage.tables.tables import Tables


def states(registry: Registry) -> list[str]:
    return [version.state for version in registry.versions("mara")]


def equal_quality(_version: int) -> float:
    return 0.7


def finish_equal_trial(registry: Registry) -> ReleaseRound:
    """End the trial with 200 pairs, in which the candidate is better by .01 on average."""
    pairs = draw_pairs(lambda number: 0.7 + 0.01 * number, registry, count=200)
    return run_round_with_pairs(registry, pairs, prompt_count=200)


def test_an_equal_candidate_is_promoted_with_a_notice(registry: Registry) -> None:
    register_passed_candidate(registry, "h2")
    assert run_release_round(registry).moves[-1].to_state == "shadow"
    result = finish_equal_trial(registry)
    assert [(move.version, move.to_state) for move in result.moves] == [(2, "stable")]
    assert states(registry) == ["retired", "stable"]
    assert result.trial is not None
    assert result.trial.finding.finding == "promote"
    assert result.trial.evidence.highest["topic"] >= result.trial.evidence.log_promotion_threshold
    metadata = trial_metadata(result.trial)
    assert metadata["trial"] == "v2 against v1, shadow"
    assert "| promote: topic |" in metadata["evidence"]
    (notice,) = [notice for notice in queued_notices(registry.state) if "v2" in notice.title]
    assert notice.event == "promoted"
    assert "not worse by 0.1 or more" in notice.text
    assert run_release_round(registry, replays=None).moves == ()


def start_trial_against_answer_model(registry: Registry) -> None:
    """Register a tuned v1, a stable answer model v2 and a v3 on trial."""
    register_version(
        registry, "mara", "named", base="Qwen/Large", base_gguf="/l.gguf", kind="answer_model"
    )
    registry.move("mara", 2, "stable", actor="command:jo", reason="named", force=True)
    register_passed_candidate(registry, "h3")


def terms_against_answer_model(registry: Registry) -> TrialTerms:
    margin = trial.margin_for_incumbent(registry.get("mara", 2), 0.1)
    assert (margin, trial.margin_for_incumbent(registry.get("mara", 1), 0.1)) == (0.0, 0.1)
    return TrialTerms(BOTH_CLAIMS, judges="topic@1, voice@1", margin=margin)


def test_only_a_better_candidate_replaces_an_answer_model(registry: Registry) -> None:
    start_trial_against_answer_model(registry)
    gate = ModeChoice("gate", "gate: no judge", 0.0)
    assert run_release_round(registry, gate).moves[-1].to_state == "shadow"
    terms = terms_against_answer_model(registry)
    equal_pairs = draw_pairs(lambda number: 0.7, registry, count=200)
    result = run_round_with_pairs(registry, equal_pairs, terms=terms, choice=gate)
    assert result.moves == ()
    assert states(registry) == ["retired", "stable", "shadow"]
    better_pairs = [
        *equal_pairs,
        *draw_pairs(lambda number: 0.9 if number == 3 else 0.5, registry, count=500),
    ]
    result = run_round_with_pairs(registry, better_pairs, terms=terms, choice=gate)
    assert states(registry) == ["retired", "retired", "stable"]
    assert result.trial is not None
    assert "shadow: better, after " in result.trial.finding.reason
    assert trial_metadata(result.trial)["margin"] == 0.0


def test_a_forced_version_need_not_be_matched_in_each_claim(registry: Registry) -> None:
    register_version(registry, "mara", "broken", folder="/broken")
    registry.move("mara", 2, "refused", actor="test", reason="stays_on_topic")
    registry.move("mara", 2, "stable", actor="command:jo", reason="all the same", force=True)
    register_passed_candidate(registry, "h3")
    assert run_release_round(registry).moves[-1].to_state == "shadow"
    is_ungated = trial.is_ungated(registry, registry.get("mara", 2))
    assert (is_ungated, trial.is_ungated(registry, registry.get("mara", 1))) == (True, False)
    # The incumbent answers other questions, but more in the author's voice.
    better_pairs = [PairedDifference(n, {"topic": 0.6, "voice": -0.2}) for n in range(1, 61)]
    terms = TrialTerms(BOTH_CLAIMS, judges="topic@1, voice@1", is_incumbent_ungated=is_ungated)
    result = run_round_with_pairs(registry, better_pairs, prompt_count=60, terms=terms)
    assert states(registry) == ["retired", "retired", "stable"]
    assert result.trial is not None
    assert "| roll back: mean of the claims |" in trial_metadata(result.trial)["evidence"]


def test_a_parked_version_must_be_matched_in_each_claim(registry: Registry) -> None:
    register_passed_candidate(registry, "h2")
    run_release_round(registry)
    few_pairs = draw_pairs(equal_quality, registry, count=31)
    run_round_with_pairs(registry, few_pairs, prompt_count=31)
    assert states(registry) == ["stable", "parked"]
    notice = queued_notices(registry.state)[0]
    assert (notice.event, "31 of about" in notice.text) == ("parked", True)
    registry.move("mara", 2, "stable", actor="command:jo", reason="all the same", force=True)
    assert registry.get("mara", 2).forced
    assert not trial.is_ungated(registry, registry.get("mara", 2))


def test_replacing_an_answer_model_requires_a_trial(registry: Registry) -> None:
    start_trial_against_answer_model(registry)
    stable = registry.get("mara", 2)
    choice = choose_mode_against_answer_model(TrialFeasibility((), prompt_count=0), stable)
    assert choice.mode == "shadow"
    assert "v2 answers at the author's request (Qwen/Large)" in choice.reason
    assert "no judge is certified" in choice.reason


def test_a_worse_candidate_is_rolled_back(registry: Registry) -> None:
    register_passed_candidate(registry, "h2")
    run_release_round(registry)
    worse_replays = build_replays(
        registry, draw_pairs(lambda number: 0.9 - 0.3 * number, registry, count=100)
    )
    run_release_round(registry, replays=worse_replays)
    assert states(registry) == ["stable", "rolled_back"]
    assert queued_notices(registry.state)[0].event == "rolled_back"


def test_a_trial_without_new_pairs_is_parked_after_14_days(registry: Registry) -> None:
    """An idle trial would block later candidates forever."""
    register_passed_candidate(registry, "h2")
    run_release_round(registry)
    start, day = time.time(), 86_400.0
    few_pairs = draw_pairs(equal_quality, registry, count=12)
    run_round_with_pairs(registry, few_pairs[:8], now=start + day)
    run_round_with_pairs(registry, few_pairs, now=start + 10 * day)
    assert run_round_with_pairs(registry, few_pairs, now=start + 23 * day).moves == ()
    assert states(registry) == ["stable", "shadow"]

    [parked] = run_round_with_pairs(registry, few_pairs, now=start + 24.1 * day).moves

    assert (parked.version, parked.to_state) == (2, "parked")
    assert "no new pair was made in 14 days (12 in total)" in parked.reason
    assert queued_notices(registry.state)[0].event == "parked"


def test_the_sensor_parks_an_idle_trial(registry: Registry, tables: Tables) -> None:
    register_passed_candidate(registry, "h2")
    run_release_round(registry)

    def run_tick(days: float) -> ReleaseTick:
        return run_release_tick(
            registry,
            tables,
            release_modes={"mara": "shadow"},
            gate_version=GATE_VERSION,
            newest_metadata=lambda asset, author: {},
            now=time.time() + days * 86_400.0,
            last_known_move_number=0,
            margin=0.1,
            min_prompts=300,
        )

    assert run_tick(13.9).messages == {"mara": "on trial, no pair yet: materialize shadow_pairs"}
    run_tick(14.1)
    assert states(registry) == ["stable", "parked"]
    reason = registry.moves("mara")[-1].reason
    assert "no new pair was made in 14 days (0 in total)" in reason


def test_repeated_and_incomplete_pairs_do_not_count(registry: Registry) -> None:
    register_passed_candidate(registry, "h2")
    run_release_round(registry)
    pairs = draw_pairs(equal_quality, registry, count=20)
    first = run_round_with_pairs(registry, pairs[:12]).trial
    second = run_round_with_pairs(registry, pairs[:12]).trial
    assert first is not None
    assert second == first
    whole = run_round_with_pairs(registry, pairs).trial
    assert whole is not None
    assert whole.evidence.pairs == 20
    assert whole.number == first.number


def test_one_failed_claim_prevents_a_promotion(registry: Registry) -> None:
    """The model is on topic but has another author's voice."""
    register_passed_candidate(registry, "h2")
    run_release_round(registry)
    rng = random.Random(3)
    pairs = [
        PairedDifference(n, {"topic": rng.uniform(-0.2, 0.2), "voice": rng.uniform(-0.6, 0.1)})
        for n in range(1, 200)
    ]
    run_round_with_pairs(registry, pairs)
    assert states(registry) == ["stable", "rolled_back"]


def run_ten_releases(registry: Registry, *, worse_by: float) -> float:
    """Try ten candidates, each worse than the stable version, and return the total loss."""
    total_loss = {1: 0.0}
    for number in range(2, 12):
        stable = registry.stable_version("mara")
        assert stable is not None
        total_loss[number] = total_loss[stable.version] + worse_by
        register_passed_candidate(registry, f"h{number}")
        run_release_round(registry)
        pairs = draw_pairs(lambda version: 0.95 - total_loss[version], registry, count=1_500)
        run_round_with_pairs(registry, pairs, prompt_count=1_500)
    stable = registry.stable_version("mara")
    assert stable is not None
    return total_loss[stable.version]


@pytest.mark.long
@pytest.mark.parametrize("worse_by", [0.08, 0.03])
def test_successive_small_losses_are_stopped(registry: Registry, worse_by: float) -> None:
    """The rollback bet detects a loss of .08; the final mean stops a loss of .03."""
    assert run_ten_releases(registry, worse_by=worse_by) <= 0.1


@pytest.mark.parametrize("judge", ["constant", "random", "inverted"])
def test_an_uncertified_judge_promotes_no_version(registry: Registry, judge: str) -> None:
    rng = random.Random(11)

    def score(quality: float) -> float:
        if judge == "constant":
            return 0.7
        if judge == "random":
            return rng.random()
        return 1.0 - min(1.0, max(0.0, rng.gauss(quality, 0.1)))

    probe_differences = {
        kind: [score(0.8) - score(0.2) for _ in range(100)] for kind in ("off_topic", "shuffled")
    }
    certificate = certify(judge, "topic", probe_differences)
    register_passed_candidate(registry, "h2")
    run_release_round(registry)
    pairs = [PairedDifference(n, {"topic": score(0.2) - score(0.8)}) for n in range(1, 400)]
    terms = TrialTerms(("topic",), judges=judge)
    uncertified_replays = build_replays(
        registry, pairs, prompt_count=500, is_certified=certificate.certified, terms=terms
    )
    result = run_release_round(registry, replays=uncertified_replays)
    assert not certificate.certified
    assert states(registry) == ["stable", "shadow"]
    assert result.trial is not None
    assert "no certificate" in result.trial.finding.reason
    replays_without_claims = build_replays(
        registry, pairs, is_certified=False, terms=TrialTerms((), judges=judge)
    )
    assert run_release_round(registry, replays=replays_without_claims).moves == ()


def test_a_manual_rollback_restarts_the_trial(registry: Registry) -> None:
    register_passed_candidate(registry, "h2")
    run_release_round(registry)
    finish_equal_trial(registry)
    register_passed_candidate(registry, "h3")
    run_release_round(registry)
    early = run_round_with_pairs(registry, draw_pairs(equal_quality, registry, count=5)).trial
    assert early is not None
    registry.rollback("mara", actor="me", reason="it rambles")
    assert queued_notices(registry.state)[0].event == "rolled_back"
    assert queued_notices(registry.state)[0].title == "mara was rolled back to v1"
    assert trial.current_trial(registry.state, "mara") is None, (
        "evidence against v2 was kept for v1"
    )
    late = run_round_with_pairs(registry, draw_pairs(equal_quality, registry, count=7)).trial
    assert late is not None
    assert late.number > early.number
    assert (late.evidence.pairs, late.candidate.incumbent) == (7, 1)


def test_another_judge_starts_another_trial(registry: Registry) -> None:
    register_passed_candidate(registry, "h2")
    run_release_round(registry)
    pairs = draw_pairs(equal_quality, registry, count=10)
    first = run_round_with_pairs(registry, pairs).trial
    other = TrialTerms(BOTH_CLAIMS, judges="topic@2, voice@1")
    second = run_round_with_pairs(registry, pairs[:4], terms=other).trial
    assert first is not None
    assert second is not None
    assert (second.number > first.number, second.evidence.pairs) == (True, 4)
