"""Test the pure function `required_moves`, which applies the release rules."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.model_versions import build_version
from tests.unit.registry.comparison_claims import make_no_worse_claim
from twin_resources.registry.moves import (
    AUTOMATIC_MOVES,
    FORCED_MOVES,
    MANUAL_MOVES,
    Finding,
    GateClaim,
    ModelVersion,
    Move,
    Outcome,
    ReleaseMode,
    RequiredMove,
    TrialResult,
    Verdict,
    VersionKind,
    VersionState,
    describe_refusal,
    required_moves,
)
from twin_resources.registry.notices import build_notice

GATE = "gate-3"


def make_version(number: int, state: VersionState = "candidate", **values: object) -> ModelVersion:
    checkpoint = f"hash{number}"
    folder = f"/checkpoints/{checkpoint}"
    fields = {"author": "mara", "version": number, "checkpoint": checkpoint, "folder": folder}
    return build_version(**(fields | {"state": state} | values))


def make_verdict(
    number: int, outcome: Outcome = "passed", gate: str = GATE, *other_claims: GateClaim
) -> Verdict:
    claim = GateClaim(
        "beats_base_model", outcome == "passed", 30.1, 28.0, "perplexity 30.1, base 28.0"
    )
    claims = (claim, *(other_claims or (make_no_worse_claim(1),)))
    return Verdict("mara", f"hash{number}", gate, outcome, claims, "2026-01-02T00:00:00+00:00")


def decide(
    *versions: ModelVersion,
    verdicts: list[Verdict] | None = None,
    evidence: dict[int, TrialResult] | None = None,
    mode: ReleaseMode = "gate",
) -> list[tuple[int, str]]:
    moves = required_moves(
        versions,
        {item.checkpoint: item for item in verdicts or []},
        evidence or {},
        gate_version=GATE,
        mode=mode,
    )
    return [(move.version, move.to_state) for move in moves]


@pytest.mark.parametrize("mode", get_args(ReleaseMode))
def test_the_first_model_that_passes_becomes_stable_at_once(mode: ReleaseMode) -> None:
    assert decide(make_version(1), verdicts=[make_verdict(1)], mode=mode) == [(1, "stable")]


def test_a_version_without_a_verdict_of_this_gate_does_not_move() -> None:
    assert decide(make_version(1)) == []
    assert decide(make_version(1), verdicts=[make_verdict(1, gate="gate-2")]) == []
    assert decide(make_version(1), verdicts=[make_verdict(1, "failed", gate="gate-2")]) == []


@pytest.mark.parametrize("outcome", ["failed", "not_decided"])
def test_candidates_that_do_not_pass_are_refused(outcome: Outcome) -> None:
    assert decide(make_version(1), verdicts=[make_verdict(1, outcome)]) == [(1, "refused")]


def test_a_refusal_names_the_unmet_claims_with_their_numbers() -> None:
    assert describe_refusal(make_verdict(1, "failed")) == (
        "the gate refused: beats_base_model: perplexity 30.1, base 28.0"
    )


@pytest.mark.parametrize(("mode", "to_state"), [("gate", "shadow"), ("shadow", "shadow")])
def test_a_candidate_against_an_answer_model_always_goes_on_trial(
    mode: ReleaseMode, to_state: str
) -> None:
    versions = (make_version(1, "stable", kind="answer_model", forced=True), make_version(2))
    assert decide(*versions, verdicts=[make_verdict(2)], mode=mode) == [(2, to_state)]
    assert decide(*versions, verdicts=[make_verdict(2, "failed")], mode=mode) == [(2, "refused")]
    assert decide(*versions, mode=mode) == []


def test_an_answer_model_never_moves_automatically() -> None:
    for state in get_args(VersionState):
        assert decide(make_version(1, state, kind="answer_model")) == []


@pytest.mark.parametrize(("mode", "to_state"), [("gate", "stable"), ("shadow", "shadow")])
def test_the_release_mode_determines_a_later_candidates_state(
    mode: ReleaseMode, to_state: str
) -> None:
    versions = (make_version(1, "stable"), make_version(2))
    assert decide(*versions, verdicts=[make_verdict(1), make_verdict(2)], mode=mode) == [
        (2, to_state)
    ]


@pytest.mark.parametrize(
    ("claim", "to_state", "reason"),
    [
        (make_no_worse_claim(1, ratio=0.97, high=1.0), "stable", "perplexity ratio 0.9700"),
        (
            make_no_worse_claim(1, ratio=0.97, high=1.0001),
            "parked",
            "upper end of the interval 1.0001",
        ),
        (
            make_no_worse_claim(1, ratio=1.04, high=1.06),
            "parked",
            "not shown to be no worse than v1",
        ),
        (make_no_worse_claim(1, high=None), "parked", "-2.0 %"),
        (make_no_worse_claim(7), "parked", "its verdict compares it with v7"),
        (GateClaim("not_worse_than_incumbent", True, None, 1.05, "none"), "parked", "no stable"),
    ],
)
def test_the_gate_alone_releases_only_a_candidate_that_is_no_worse(
    claim: GateClaim, to_state: str, reason: str
) -> None:
    """A candidate that was 4 % worse was once released, because its claim allows up to 5 %."""
    verdict = make_verdict(2, "passed", GATE, claim)
    [move] = required_moves(
        [make_version(1, "stable"), make_version(2)],
        {"hash2": verdict},
        {},
        gate_version=GATE,
        mode="gate",
    )
    assert (move.version, move.to_state, move.incumbent) == (2, to_state, 1)
    assert reason in move.reason
    versions = (make_version(1, "stable"), make_version(2))
    assert decide(*versions, verdicts=[verdict], mode="shadow") == [(2, "shadow")]
    first_version = decide(make_version(2), verdicts=[verdict])
    assert first_version == [(2, "stable")], "a first version needs no comparison"
    tainted = make_version(1, "stable", tainted=True)
    assert decide(tainted, make_version(2), verdicts=[verdict]) == [(2, "stable")], (
        "a tainted version must not be compared with"
    )


@pytest.mark.parametrize("finding", ["undecided", None])
def test_the_newest_candidate_replaces_the_one_on_trial(finding: Finding | None) -> None:
    """Without this rule, later candidates would wait for a trial that never ends."""
    versions = [make_version(1, "stable"), make_version(2, "shadow"), make_version(3)]
    evidence = {2: TrialResult(finding, "31 of about 180 pairs")} if finding else {}
    verdicts = [make_verdict(2), make_verdict(3)]
    moves = required_moves(
        versions,
        {item.checkpoint: item for item in verdicts},
        evidence,
        gate_version=GATE,
        mode="shadow",
    )
    assert [(move.version, move.to_state) for move in moves] == [(2, "parked")]
    assert moves[0].reason == "undecided, and superseded by v3"
    versions_after = apply_moves(versions, moves)
    assert decide(*versions_after, verdicts=verdicts, evidence=evidence, mode="shadow") == [
        (3, "shadow")
    ]


def test_a_decided_trial_is_not_superseded() -> None:
    versions = (make_version(1, "stable"), make_version(2, "shadow"), make_version(3))
    evidence = {2: TrialResult("promote", "U = 21")}
    moves = decide(
        *versions, verdicts=[make_verdict(2), make_verdict(3)], evidence=evidence, mode="shadow"
    )
    assert moves == [(2, "stable")]


def test_a_candidate_without_a_passed_gate_supersedes_no_trial() -> None:
    versions = (make_version(1, "stable"), make_version(2, "shadow"), make_version(3))
    assert decide(*versions, verdicts=[make_verdict(2)], mode="shadow") == []


def test_the_newer_of_two_passed_candidates_is_released_and_the_older_parked() -> None:
    verdicts = [make_verdict(1), make_verdict(2)]
    assert decide(make_version(1), make_version(2), verdicts=verdicts) == [
        (1, "parked"),
        (2, "stable"),
    ]


@pytest.mark.parametrize(
    ("finding", "to_state"),
    [
        ("promote", "stable"),
        ("roll_back", "rolled_back"),
        ("exhausted", "parked"),
        ("undecided", None),
    ],
)
@pytest.mark.parametrize(
    ("kind", "mode", "incumbent"), [("tuned", "shadow", None), ("answer_model", "gate", 1)]
)
def test_the_finding_of_a_trial_determines_its_end(
    kind: VersionKind,
    mode: ReleaseMode,
    incumbent: int | None,
    finding: Finding,
    to_state: str | None,
) -> None:
    versions = (make_version(1, "stable", kind=kind), make_version(2, "shadow"))
    evidence = {2: TrialResult(finding, "31 of about 180 pairs", incumbent)}
    moves = decide(*versions, verdicts=[make_verdict(2)], evidence=evidence, mode=mode)
    assert moves == ([(2, to_state)] if to_state else [])


def test_evidence_promotes_only_a_version_that_passed_the_current_gate() -> None:
    evidence = {2: TrialResult("promote", "U = 21")}
    versions = (make_version(1, "stable"), make_version(2, "shadow"))
    old_verdicts = [make_verdict(2, gate="gate-2")]
    assert decide(*versions, verdicts=old_verdicts, evidence=evidence, mode="shadow") == []


@pytest.mark.parametrize("finding", ["promote", "roll_back", "exhausted"])
def test_pairs_do_not_decide_about_a_version_on_a_ramp(finding: Finding) -> None:
    versions = (make_version(1, "stable"), make_version(2, "canary"))
    evidence = {2: TrialResult(finding, "")}
    assert decide(*versions, verdicts=[make_verdict(2)], evidence=evidence) == []


def test_a_tainted_candidate_is_refused_even_after_a_pass() -> None:
    assert decide(make_version(1, tainted=True), verdicts=[make_verdict(1)]) == [(1, "refused")]
    canary = make_version(2, "canary", tainted=True)
    assert decide(make_version(1, "stable"), canary, verdicts=[make_verdict(2)]) == [(2, "refused")]


def apply_moves(versions: list[ModelVersion], moves: list[RequiredMove]) -> list[ModelVersion]:
    """Return the versions after the moves, as a registry would change them."""
    for move in moves:
        if move.to_state == "stable":
            versions = [
                replace(item, state="retired") if item.state == "stable" else item
                for item in versions
            ]
        versions = [
            replace(item, state=move.to_state) if item.version == move.version else item
            for item in versions
        ]
    return versions


states = st.sampled_from(get_args(VersionState))


@given(
    st.lists(st.tuples(states, st.booleans()), min_size=1, max_size=6),
    st.dictionaries(
        st.integers(1, 6), st.tuples(st.sampled_from(get_args(Outcome)), st.booleans())
    ),
    st.dictionaries(st.integers(1, 6), st.sampled_from(get_args(Finding))),
    st.sampled_from(get_args(ReleaseMode)),
    st.sampled_from(get_args(VersionKind)),
)
def test_moves_are_legal_and_finite_and_release_only_passed_versions(
    given_states: list[tuple[VersionState, bool]],
    outcomes: dict[int, tuple[Outcome, bool]],
    findings: dict[int, Finding],
    mode: ReleaseMode,
    kind: VersionKind,
) -> None:
    has_stable = False
    versions: list[ModelVersion] = []
    for number, (state, tainted) in enumerate(given_states, start=1):
        valid_state: VersionState = "retired" if state == "stable" and has_stable else state
        has_stable = has_stable or state == "stable"
        valid_kind = kind if valid_state == "stable" else "tuned"
        versions.append(make_version(number, valid_state, tainted=tainted, kind=valid_kind))
    verdicts = {
        f"hash{number}": make_verdict(number, outcome, gate=GATE if is_current else "gate-2")
        for number, (outcome, is_current) in outcomes.items()
    }
    evidence = {number: TrialResult(finding, "") for number, finding in findings.items()}
    for _ in range(len(versions) * 3):
        moves = required_moves(versions, verdicts, evidence, gate_version=GATE, mode=mode)
        if not moves:
            break
        by_number = {item.version: item for item in versions}
        for move in moves:
            item = by_number[move.version]
            assert move.to_state in AUTOMATIC_MOVES[item.state]
            if move.to_state in {"stable", "shadow", "canary"}:
                verdict = verdicts[item.checkpoint]
                assert (verdict.outcome, verdict.gate_version) == ("passed", GATE)
                assert not item.tainted
            stable = next((item for item in versions if item.state == "stable"), None)
            if move.to_state == "stable" and stable is not None and stable.is_answer_model:
                assert evidence[move.version].finding == "promote"
        versions = apply_moves(versions, moves)
        assert sum(item.state == "stable" for item in versions) <= 1
    else:
        pytest.fail("the moves did not end")


def test_each_move_is_either_automatic_manual_or_forced() -> None:
    for state in get_args(VersionState):
        automatic = AUTOMATIC_MOVES.get(state, frozenset())
        assert not automatic & MANUAL_MOVES.get(state, frozenset())
        assert not automatic & FORCED_MOVES.get(state, frozenset())


@pytest.mark.parametrize("former", get_args(VersionState))
@pytest.mark.parametrize("state", get_args(VersionState))
@pytest.mark.parametrize("forced", [False, True])
def test_only_moves_to_notable_states_have_a_notice(
    former: VersionState, state: VersionState, forced: bool
) -> None:
    move = Move(7, "mara", 2, former, state, "chris", "it rambles", forced, "2026-01-01")
    notice = build_notice(move)
    notified_states = {"stable", "refused", "parked", "rolled_back"}
    assert (notice is not None) is (state in notified_states)
    if notice is None:
        return
    assert notice.key == "move 7 of mara"
    assert notice.text.startswith(f"{former} → {state} by chris: it rambles\n")
    is_rollback = (former, state) == ("retired", "stable")
    is_withdrawn = (former, state) == ("stable", "refused")
    assert (notice.title == "mara was rolled back to v2") is is_rollback
    assert notice.title.startswith("v2 of mara was withdrawn") is is_withdrawn
    assert ("The base model answers again" in notice.text) is is_withdrawn
    assert notice.title.endswith(", by force") is (forced and not is_rollback)
    assert (notice.event == "rolled_back") is (is_rollback or state == "rolled_back")
