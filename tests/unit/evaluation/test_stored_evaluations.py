"""What is judged by stored evaluations: a first verdict is no whole gate, and what does not pass
the whole is taken back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.evaluation.report.test_evaluation_record import EVALUATION
from tests.unit.evaluation.test_gate import FIRST, GOOD, changed
from twin_assets.checkpoints.manifest import write_pointer
from twin_assets.evaluation.gate import GATE_VERSION, decide, decide_first, outcome_of
from twin_assets.evaluation.judgement import JudgingSetup, complete_evaluation
from twin_assets.evaluation.measures.measure import Measurements
from twin_assets.evaluation.report.evaluation_record import (
    evaluation_path,
    evaluations,
    write_evaluation,
)
from twin_resources.errors import TwinError
from twin_resources.registry.moves import GateClaim, Verdict
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables

CHECKPOINT = "c" * 64
BAD = changed(GOOD, dataset_templates=("bb",))


class JudgedTwin:
    """An author whose candidate has been judged so far as the test says."""

    def __init__(self, home: Settings) -> None:
        state = State.open(home.state_address)
        self.registry = Registry(state, policy_path=home.policy_path)
        self.folder = home.home / "checkpoints" / "c"
        self.lines: list[str] = []
        nothing: Any = None  # no server and no embedder is asked where all is stored
        self.judging = JudgingSetup(
            "ada",
            self.folder.parent,
            1_000,
            tables=Tables(home.tables_base, state=state),
            registry=self.registry,
            servers=nothing,
            embedder=nothing,
            say=self.lines.append,
        )
        self.folder.mkdir(parents=True)
        write_pointer(self.folder.parent, "candidate", {"checkpoint": CHECKPOINT})
        self.registry.register(
            author="ada",
            checkpoint=CHECKPOINT,
            folder=str(self.folder),
            adapter_gguf=None,
            base="/base",
            base_gguf="/base.gguf",
            template="t",
            dataset_version="d",
        )

    def judged(self, measured: Measurements, *, first: bool, former: bool = False) -> Verdict:
        """Store a verdict and its record; `former`: the record is that of a former release."""
        claims: tuple[GateClaim, ...] = decide_first(measured) if first else decide(measured)
        verdict = Verdict("ada", CHECKPOINT, GATE_VERSION, outcome_of(claims), claims, "2026-01-01")
        evaluation = replace(
            EVALUATION, checkpoint=CHECKPOINT, measured=measured, first=first and not former
        )
        path = evaluation_path(self.folder, GATE_VERSION)
        write_evaluation(path.with_stem(f"{GATE_VERSION}-first") if former else path, evaluation)
        self.registry.record_verdict(verdict)
        return verdict

    def released(self, *, force: bool = False) -> None:
        self.registry.move(
            *("ada", 1, "stable"), actor="a", reason="r", force=force, gate_version=GATE_VERSION
        )

    @property
    def state(self) -> str:
        return self.registry.get("ada", 1).state


@pytest.fixture
def twin(home: Settings) -> JudgedTwin:
    return JudgedTwin(home)


@pytest.mark.parametrize("former", [False, True])
def test_a_version_with_a_first_verdict_alone_is_taken_back_by_the_whole(
    twin: JudgedTwin, former: bool
) -> None:
    assert twin.judged(FIRST, first=True, former=former).outcome == "passed"
    twin.released()
    assert twin.judged(BAD, first=False).outcome == "failed"

    judged = complete_evaluation(twin.judging)

    assert (judged.taken_back, twin.state) == ("v1", "refused")
    assert (judged.whole, judged.measured_now) == (True, False)
    assert Path(judged.report).name == f"{GATE_VERSION}.md"
    assert any("taken back: the gate refused: template_hash" in line for line in twin.lines), (
        twin.lines
    )
    last = twin.registry.moves("ada")[-1]
    assert (last.actor, last.to_state) == ("evaluation_report", "refused")


def test_one_that_once_passed_the_whole_gate_stays(twin: JudgedTwin) -> None:
    assert twin.judged(GOOD, first=False).outcome == "passed"
    twin.released()
    assert twin.judged(BAD, first=False).outcome == "failed"
    assert (complete_evaluation(twin.judging).taken_back, twin.state) == ("", "stable")


def test_one_that_a_person_released_against_the_gate_stays(twin: JudgedTwin) -> None:
    twin.judged(BAD, first=False)
    twin.registry.move("ada", 1, "refused", actor="gate", reason="r")
    twin.released(force=True)
    assert (complete_evaluation(twin.judging).taken_back, twin.state) == ("", "stable")


def test_what_has_passed_is_left_alone(twin: JudgedTwin) -> None:
    twin.judged(FIRST, first=True)
    twin.released()
    twin.judged(GOOD, first=False)
    judged = complete_evaluation(twin.judging)
    assert (judged.taken_back, twin.state, twin.lines) == ("", "stable", [])


def test_what_was_never_released_has_nothing_to_be_taken_back(twin: JudgedTwin) -> None:
    twin.judged(BAD, first=False)
    assert (complete_evaluation(twin.judging).taken_back, twin.state) == ("", "candidate")


def test_without_a_verdict_there_is_nothing_to_complete(twin: JudgedTwin) -> None:
    with pytest.raises(TwinError, match="materialize checkpoint_evaluation"):
        complete_evaluation(twin.judging)


@pytest.mark.parametrize("former", [False, True])
@pytest.mark.parametrize("crashed", [False, True])
def test_a_first_verdict_never_counts_as_the_whole_gate(
    twin: JudgedTwin, former: bool, crashed: bool
) -> None:
    """Nor does its record count for a verdict of the whole gate, whose own was never written."""
    twin.judged(FIRST, first=True, former=former)
    twin.released()
    if crashed:
        claims = decide(GOOD)
        twin.registry.record_verdict(
            Verdict("ada", CHECKPOINT, GATE_VERSION, "passed", claims, "2026-01-02")
        )
    with pytest.raises(AttributeError, match="precision"):
        complete_evaluation(twin.judging)  # it measures, and there is no server


def test_the_record_of_a_former_first_verdict_is_read_as_one(twin: JudgedTwin) -> None:
    twin.judged(FIRST, first=True, former=True)
    [(path, stored)] = evaluations(twin.folder, GATE_VERSION)
    assert (path.name, stored.first) == (f"{GATE_VERSION}-first.json", True)
    twin.judged(GOOD, first=False)
    found = [one.first for _, one in evaluations(twin.folder, GATE_VERSION)]
    assert found == [False, True]
