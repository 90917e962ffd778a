"""Test the registry on SQLite and PostgreSQL: versions, verdicts, moves and the written policy."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.graph.state.registry_mover import GATE, reconcile_when_all_are_ready, route_many_times
from tests.model_versions import register_version
from tests.queued_notices import queued_notices
from tests.unit.registry.comparison_claims import make_stable_claims
from twin_resources.errors import TwinError
from twin_resources.registry.moves import (
    GateClaim,
    ModelVersion,
    Move,
    Outcome,
    ReleaseMode,
    TrialResult,
    Verdict,
)
from twin_resources.registry.policy import read_policy
from twin_resources.registry.registry import MoveRefusedError, Registry, reconcile
from twin_resources.storage.state.state import State

PROCESS_CONTEXT = multiprocessing.get_context("forkserver")
PROCESS_CONTEXT.set_forkserver_preload(["tests.graph.state.registry_mover"])


@pytest.fixture
def registry(state: State, tmp_path: Path) -> Registry:
    return Registry(state, policy_path=tmp_path / "policy.json")


NO_INCUMBENT = GateClaim("not_worse_than_incumbent", None, None, None, "there is no incumbent")


def register(registry: Registry, checkpoint: str, author: str = "mara") -> ModelVersion:
    return register_version(
        registry,
        author,
        checkpoint,
        folder=f"/checkpoints/{author}/{checkpoint}",
        base="/weights/base",
        base_gguf="/weights/base.gguf",
        template="template-1",
        dataset_version="dataset-1",
    )


def judge(
    registry: Registry, checkpoint: str, outcome: Outcome = "passed", gate: str = GATE
) -> Verdict:
    claims = (
        GateClaim(
            "beats_base_model", outcome == "passed", 23.5, 34.6, "perplexity 23.5, base 34.6"
        ),
        *(make_stable_claims(registry, "mara") or (NO_INCUMBENT,)),
    )
    verdict = Verdict("mara", checkpoint, gate, outcome, claims, "2026-01-01T00:00:00+00:00")
    registry.record_verdict(verdict)
    return verdict


def release(registry: Registry, *checkpoints: str) -> None:
    for checkpoint in checkpoints:
        register(registry, checkpoint)
        judge(registry, checkpoint)
        reconcile_all(registry)


def reconcile_all(
    registry: Registry, mode: ReleaseMode = "gate", **evidence: TrialResult
) -> list[Move]:
    by_version = {int(name[1:]): result for name, result in evidence.items()}
    return reconcile(
        registry, "mara", gate_version=GATE, mode=mode, actor="dagster", evidence=by_version
    )


def read_states(registry: Registry) -> list[str]:
    return [item.state for item in registry.versions("mara")]


def read_served_version(registry: Registry) -> int | None:
    stable = read_policy(registry.policy_path).authors["mara"].stable
    return stable.version if stable else None


def register_answer_model(registry: Registry, checkpoint: str = "named") -> ModelVersion:
    return register_version(
        registry,
        "mara",
        checkpoint,
        base="http://127.0.0.1:9/v1#large",
        base_gguf="",
        template="template-1",
        kind="answer_model",
    )


def test_an_answer_model_is_stable_by_hand_until_a_candidate_wins_a_trial(
    registry: Registry,
) -> None:
    version = register_answer_model(registry)
    assert reconcile_all(registry) == []
    with pytest.raises(MoveRefusedError, match="no PASSED verdict"):
        registry.move(
            "mara", version.version, "stable", actor="dagster", reason="none", gate_version=GATE
        )
    registry.move("mara", version.version, "stable", actor="command:jo", reason="named", force=True)
    entry = read_policy(registry.policy_path).authors["mara"].stable
    assert entry is not None
    assert (entry.kind, entry.base) == ("answer_model", "http://127.0.0.1:9/v1#large")
    assert register_answer_model(registry) == registry.get("mara", 1)
    register(registry, "h2")
    judge(registry, "h2")
    reconcile_all(registry, mode="gate")
    assert read_states(registry) == ["stable", "shadow"]
    result = TrialResult("promote", "better, after 80 pairs", incumbent=1)
    reconcile_all(registry, mode="gate", v2=result)
    assert read_states(registry) == ["retired", "stable"]
    assert register_answer_model(registry).state == "retired", "naming it again restored it"


def test_an_answer_model_is_retired_and_restored_by_hand(registry: Registry) -> None:
    register_answer_model(registry)
    registry.move("mara", 1, "stable", actor="command:jo", reason="named", force=True)
    with pytest.raises(MoveRefusedError, match="it may move to refused"):
        registry.move("mara", 1, "retired", actor="dagster", reason="by itself")
    registry.move("mara", 1, "retired", actor="command:jo", reason="not wanted", force=True)
    assert read_served_version(registry) is None
    registry.move("mara", 1, "stable", actor="command:jo", reason="wanted again")
    assert read_served_version(registry) == 1
    assert registry.get("mara", 1).forced


def test_a_tuned_version_cannot_be_retired_by_hand(registry: Registry) -> None:
    release(registry, "h1")
    with pytest.raises(MoveRefusedError, match="it may move to no other state"):
        registry.move("mara", 1, "retired", actor="command:jo", reason="off", force=True)


def test_versions_are_numbered_for_each_author(registry: Registry) -> None:
    assert [register(registry, name).version for name in ("h1", "h2")] == [1, 2]
    assert register(registry, "j1", author="josé").version == 1
    assert registry.authors() == ["josé", "mara"]
    assert registry.get("mara", 2).checkpoint == "h2"
    assert registry.find_by_checkpoint("j1") == registry.get("josé", 1)
    assert registry.find_by_checkpoint("j1", author="mara") is None
    with pytest.raises(TwinError, match=r"find v9 of mara.*v1, v2"):
        registry.get("mara", 9)
    with pytest.raises(TwinError, match="versions of this author: none"):
        registry.get("jose", 1)


def test_a_known_checkpoint_keeps_its_version_and_gets_new_paths(registry: Registry) -> None:
    first = register(registry, "h1")
    registered_again = register_version(
        registry, "mara", "h1", folder="/moved", adapter_gguf="/moved/adapter.gguf", base="/b",
        base_gguf="/g", template="template-1", dataset_version="dataset-1",
    )  # fmt: skip
    new_paths = {"folder": "/moved", "adapter_gguf": "/moved/adapter.gguf", "base": "/b"}
    assert registered_again == replace(first, **new_paths, base_gguf="/g")
    assert len(registry.versions("mara")) == 1


def test_a_retired_checkpoint_trained_again_is_a_candidate(registry: Registry) -> None:
    release(registry, "h1", "h2")
    assert read_states(registry) == ["retired", "stable"]
    assert register(registry, "h1").state == "candidate"
    assert registry.moves("mara")[-1].reason == "training produced this checkpoint again"
    assert register(registry, "h2").state == "stable", "the stable version changed its state"


def test_a_verdict_is_read_unchanged_and_the_newest_counts(registry: Registry) -> None:
    first = judge(registry, "h1", "failed")
    assert registry.verdict("h1", GATE) == first
    assert registry.verdict("h1", "gate-2") is None
    assert registry.verdict("h2", GATE) is None
    second = judge(registry, "h1")
    assert registry.verdict("h1", GATE) == second
    assert registry.latest_verdict("mara") == second
    assert registry.latest_verdict("jose") is None


@pytest.mark.parametrize("outcome", ["failed", "not_decided"])
def test_a_release_is_withdrawn_only_after_a_later_verdict(
    registry: Registry, outcome: Outcome
) -> None:
    release(registry, "h1")
    arguments: dict[str, Any] = {"actor": "evaluation_report", "reason": "it recites"}
    with pytest.raises(MoveRefusedError, match="PASSED by gate-1"):
        registry.move("mara", 1, "refused", **arguments, gate_version=GATE)
    with pytest.raises(MoveRefusedError, match="no verdict of gate ''"):
        registry.move("mara", 1, "refused", **arguments)
    judge(registry, "h1", outcome)
    assert [verdict.outcome for verdict in registry.verdicts("h1", GATE)] == ["passed", outcome]
    assert reconcile_all(registry) == [], "a reconciliation withdrew the release"

    move = registry.move("mara", 1, "refused", **arguments, gate_version=GATE)

    assert (move.from_state, move.to_state) == ("stable", "refused")
    assert read_served_version(registry) is None
    texts = {item.title: item.text for item in queued_notices(registry.state, author="mara")}
    assert "it recites" in texts["v1 of mara was withdrawn"]
    assert "base model answers" in texts["v1 of mara was withdrawn"]
    assert reconcile_all(registry) == []
    registry.move("mara", 1, "stable", actor="chris", reason="I read it", force=True)
    with pytest.raises(MoveRefusedError, match="a person released it against the gate's verdict"):
        registry.move("mara", 1, "refused", **arguments, gate_version=GATE)
    assert read_served_version(registry) == 1


@pytest.mark.parametrize("outcome", [None, "failed", "not_decided"])
def test_a_release_without_a_passed_verdict_is_refused(
    registry: Registry, outcome: Outcome | None
) -> None:
    register(registry, "h1")
    if outcome:
        judge(registry, "h1", outcome)
    judge(registry, "another checkpoint")
    judge(registry, "h1", gate="gate-0")
    for to_state in ("stable", "shadow"):
        with pytest.raises(
            MoveRefusedError, match="no PASSED verdict of gate gate-1 for checkpoint h1"
        ):
            registry.move("mara", 1, to_state, actor="me", reason="please", gate_version=GATE)
    with pytest.raises(MoveRefusedError, match="no gate version was given"):
        registry.move("mara", 1, "stable", actor="me", reason="please")
    assert read_states(registry) == ["candidate"]
    assert registry.moves("mara") == []
    assert read_served_version(registry) is None


def test_the_first_passed_version_becomes_stable(registry: Registry) -> None:
    register(registry, "h1")
    assert reconcile_all(registry) == [], "a version without a verdict moved"
    judge(registry, "h1")
    (move,) = reconcile_all(registry)
    assert (move.from_state, move.to_state, move.actor) == ("candidate", "stable", "dagster")
    assert reconcile_all(registry) == []
    stable = registry.stable_version("mara")
    assert stable is not None
    assert stable.version == read_served_version(registry) == 1
    assert read_policy(registry.policy_path).gate_version == GATE


def test_a_refused_version_is_not_served_and_has_a_reason(registry: Registry) -> None:
    release(registry, "h1")
    register(registry, "h2")
    judge(registry, "h2", "failed")
    (move,) = reconcile_all(registry)
    assert move.to_state == "refused"
    assert "perplexity 23.5, base 34.6" in move.reason
    assert read_states(registry) == ["stable", "refused"]
    assert read_served_version(registry) == 1


def test_a_successor_retires_a_version_and_a_rollback_restores_it(registry: Registry) -> None:
    release(registry, "h1", "h2", "h3")
    assert read_states(registry) == ["retired", "retired", "stable"]
    assert read_served_version(registry) == 3
    move = registry.rollback("mara", actor="chris", reason="it rambles")
    assert (move.version, move.to_state) == (2, "stable")
    assert read_states(registry) == ["retired", "stable", "rolled_back"]
    assert read_served_version(registry) == 2
    registry.rollback("mara", 1, actor="chris", reason="further back")
    assert read_states(registry) == ["stable", "rolled_back", "rolled_back"]
    with pytest.raises(MoveRefusedError, match="no retired version"):
        registry.rollback("mara", actor="chris", reason="still further")
    with pytest.raises(MoveRefusedError, match="from rolled_back it may move to no other state"):
        registry.rollback("mara", 2, actor="chris", reason="forward")
    assert reconcile_all(registry) == [], "a reconciliation undid a rollback"


def test_a_person_may_force_a_refused_version(registry: Registry) -> None:
    register(registry, "h1")
    judge(registry, "h1", "not_decided")
    reconcile_all(registry)
    with pytest.raises(MoveRefusedError, match="force the release with a reason"):
        registry.move("mara", 1, "stable", actor="chris", reason="small corpus")
    move = registry.move("mara", 1, "stable", actor="chris", reason="small corpus", force=True)
    assert move.forced
    assert registry.get("mara", 1).forced
    assert read_served_version(registry) == 1
    assert reconcile_all(registry) == []


def test_only_refused_and_parked_versions_can_be_forced(registry: Registry) -> None:
    register(registry, "h1")
    with pytest.raises(MoveRefusedError, match="from candidate it may move to no other state"):
        registry.move("mara", 1, "stable", actor="chris", reason="now", force=True)


def test_a_parked_version_becomes_a_candidate_by_hand(registry: Registry) -> None:
    register(registry, "h1")
    registry.move("mara", 1, "parked", actor="chris", reason="not yet")
    registry.move("mara", 1, "candidate", actor="chris", reason="now")
    assert read_states(registry) == ["candidate"]


def test_a_ramp_is_served_beside_the_stable_version_until_it_ends(registry: Registry) -> None:
    release(registry, "h1")
    register(registry, "h2")
    judge(registry, "h2")
    reconcile_all(registry, mode="shadow")
    registry.move("mara", 2, "parked", actor="jo", reason="a ramp instead")
    registry.set_routing("mara", {"canary_share": 0.1})
    registry.move("mara", 2, "canary", actor="jo", reason="carefully", force=True)
    author = registry.set_routing("mara", {"paid": None}).authors["mara"]  # each night
    assert author.canary is not None
    assert author.canary.version == 2
    assert author.weights == {"stable": 0.9, "canary": 0.1}
    reconcile_all(registry, mode="shadow")
    assert read_states(registry) == ["stable", "canary"], "nothing but an error ends a ramp"
    registry.move("mara", 2, "stable", actor="jo", reason="it holds", force=True)
    assert read_states(registry) == ["retired", "stable"]
    assert read_policy(registry.policy_path).authors["mara"].weights == {"stable": 1.0}


def test_a_tainted_stable_version_is_no_longer_served(registry: Registry) -> None:
    release(registry, "h1", "h2")
    registry.taint("mara", 2, actor="forget", reason="a post was forgotten")
    assert read_served_version(registry) is None
    stable = registry.stable_version("mara")
    assert stable is not None
    assert stable.tainted
    registry.taint("mara", 1, actor="forget", reason="a post was forgotten")
    with pytest.raises(MoveRefusedError, match="no retired version is allowed to answer"):
        registry.rollback("mara", actor="chris", reason="go back")
    with pytest.raises(MoveRefusedError, match="the version is tainted"):
        registry.rollback("mara", 1, actor="chris", reason="go back")


def test_a_rollback_skips_a_tainted_version(registry: Registry) -> None:
    release(registry, "h1", "h2", "h3")
    registry.taint("mara", 2, actor="forget", reason="a post was forgotten")
    registry.rollback("mara", actor="chris", reason="go back")
    assert read_states(registry) == ["stable", "retired", "rolled_back"]
    assert read_served_version(registry) == 1


def test_the_history_records_moves_actors_and_reasons(registry: Registry) -> None:
    release(registry, "h1", "h2")
    history = [(move.version, move.from_state, move.to_state) for move in registry.moves("mara")]
    assert history == [
        (1, "candidate", "stable"),
        (1, "stable", "retired"),
        (2, "candidate", "stable"),
    ]
    retirement = registry.moves("mara")[1]
    reason = "v2 became stable: passed the gate, shown to be no worse than v1"
    assert retirement.reason.startswith(reason)
    assert retirement.actor == "dagster"
    numbers = [move.number for move in registry.moves("mara")]
    assert numbers == sorted(set(numbers))


def test_concurrent_reconciliations_move_each_version_once(
    registry: Registry, store_url: str, tmp_path: Path
) -> None:
    release(registry, "h1")
    register(registry, "h2")
    judge(registry, "h2")
    barrier = PROCESS_CONTEXT.Barrier(2)
    out_paths = [tmp_path / f"moves-{name}" for name in "ab"]
    processes = [
        PROCESS_CONTEXT.Process(
            target=reconcile_when_all_are_ready,
            args=(store_url, registry.policy_path, barrier, out),
        )
        for out in out_paths
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert sorted(json.loads(out.read_text()) for out in out_paths) == [[], [[2, "stable"]]]
    assert read_states(registry) == ["retired", "stable"]


def test_an_older_state_never_overwrites_the_policy(registry: Registry, store_url: str) -> None:
    processes = [
        PROCESS_CONTEXT.Process(
            target=route_many_times, args=(store_url, registry.policy_path, author, 30)
        )
        for author in ("mara", "jose")
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    policy = read_policy(registry.policy_path)
    assert {slug: entry.routing for slug, entry in policy.authors.items()} == {
        "mara": {"number": 29},
        "jose": {"number": 29},
    }


def test_a_lost_policy_file_is_rewritten(registry: Registry) -> None:
    release(registry, "h1")
    registry.policy_path.unlink()
    assert reconcile_all(registry) == []
    assert read_served_version(registry) == 1
    registry.policy_path.write_text("{half a fi")
    assert reconcile_all(registry) == []
    assert read_served_version(registry) == 1


def test_an_unchanged_policy_keeps_its_file(registry: Registry) -> None:
    release(registry, "h1")
    before = registry.policy_path.stat().st_mtime_ns
    assert reconcile_all(registry) == []
    assert registry.policy_path.stat().st_mtime_ns == before, "gateways would read it again"


def test_prose_is_forced_only_for_the_stable_version(registry: Registry) -> None:
    release(registry, "first")
    register(registry, "second")
    with pytest.raises(MoveRefusedError, match=r"its state is candidate.*release it first"):
        registry.force_prose("mara", 2, actor="ann", reason="I have read fifty")
    before = registry.moves("mara")
    move = registry.force_prose("mara", 1, actor="ann", reason="I have read fifty")
    assert (move.from_state, move.to_state, move.forced) == ("stable", "stable", True)
    assert registry.moves("mara") == [*before, move]
    stable = read_policy(registry.policy_path).authors["mara"].stable
    assert stable is not None
    assert stable.prose.forced


def test_a_tainted_version_cannot_be_released(registry: Registry) -> None:
    register(registry, "first")
    judge(registry, "first")
    tainted = registry.taint("mara", 1, actor="forget", reason="a post")
    assert (tainted.tainted, tainted.state) == (True, "candidate")
    assert registry.moves("mara")[-1].reason == "a post"
    with pytest.raises(MoveRefusedError, match="tainted"):
        registry.move("mara", 1, "stable", actor="a", reason="r", gate_version=GATE)
    registry.move("mara", 1, "refused", actor="a", reason="r")
    with pytest.raises(MoveRefusedError, match="tainted"):
        registry.move("mara", 1, "stable", actor="a", reason="r", gate_version=GATE, force=True)


def test_a_move_with_evidence_about_another_incumbent_is_refused(registry: Registry) -> None:
    release(registry, "first")
    register(registry, "second")
    judge(registry, "second")
    with pytest.raises(MoveRefusedError, match="evidence compares it with v2, but v1 is stable"):
        registry.move("mara", 2, "stable", actor="a", reason="r", gate_version=GATE, incumbent=2)
    registry.move("mara", 2, "stable", actor="a", reason="r", gate_version=GATE, incumbent=1)
    assert read_states(registry) == ["retired", "stable"]


def test_moves_are_numbered_over_all_authors(registry: Registry) -> None:
    assert registry.newest_move_number() == 0
    for author in ("nils", "mara"):
        register(registry, f"of {author}", author)
        registry.move(author, 1, "refused", actor="chris", reason="no")
        registry.move(author, 1, "stable", actor="chris", reason="yes", force=True)
    numbers = [move.number for name in ("nils", "mara") for move in registry.moves(name)]
    assert numbers == sorted(numbers)
    assert registry.newest_move_number() == numbers[-1]
    assert registry.authors_with_moves(after=0) == ["mara", "nils"]
    assert registry.authors_with_moves(after=numbers[1]) == ["mara"]
    assert registry.authors_with_moves(after=numbers[-1]) == []


def test_a_pass_of_any_gate_version_counts_as_ever_passed(registry: Registry) -> None:
    for checkpoint in ("h1", "h2", "h3"):
        register(registry, checkpoint)
    judge(registry, "h1", "passed")
    judge(registry, "h1", "failed", gate="gate-2")
    judge(registry, "h2", "failed")
    assert [registry.has_ever_passed(name) for name in ("h1", "h2", "h3")] == [True, False, False]
    assert [verdict.outcome for verdict in registry.verdicts("h1", GATE)] == ["passed"]
    assert registry.verdicts("h2", "gate-2") == []
    latest = registry.latest_verdict("mara")
    assert latest is not None
    assert latest.checkpoint == "h2"


@pytest.mark.parametrize("concurrent_action", ["moved by hand", "nothing"])
def test_a_refused_move_is_retried_after_a_concurrent_move(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, concurrent_action: str
) -> None:
    register(registry, "h1")
    register(registry, "h2")
    judge(registry, "h1")
    judge(registry, "h2", "failed")
    move_version, refused_numbers = registry.move, []

    def refuse_once(author: str, number: int, to_state: Any, **options: Any) -> Move:
        if number == 1 and not refused_numbers:
            refused_numbers.append(number)
            if concurrent_action == "moved by hand":
                move_version(author, 1, "refused", actor="chris", reason="no")
            raise MoveRefusedError("move v1", found="candidate no longer", next_step="look")
        return move_version(author, number, to_state, **options)

    monkeypatch.setattr(registry, "move", refuse_once)
    if concurrent_action == "nothing":
        with pytest.raises(MoveRefusedError, match="candidate no longer"):
            reconcile_all(registry)
        return
    assert [(row.version, row.to_state) for row in reconcile_all(registry)] == [(2, "refused")]
    assert read_states(registry) == ["refused", "refused"]
