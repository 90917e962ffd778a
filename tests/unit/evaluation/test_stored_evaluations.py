"""What is judged by stored evaluations: a first verdict is no whole gate, and what does not pass
the whole is taken back."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from tests.registered import register_version
from tests.sample_schema import SAMPLE_SCHEMA
from tests.stored_rows import store_rows
from tests.unit.evaluation.report.test_evaluation_record import EVALUATION
from tests.unit.evaluation.test_gate import FIRST, GOOD, changed
from twin_assets.checkpoints.manifest import Manifest, write_pointer
from twin_assets.evaluation import judgement
from twin_assets.evaluation.evaluation_spec import EvaluationSpec
from twin_assets.evaluation.gate import GATE_VERSION, decide, decide_first, decide_outcome
from twin_assets.evaluation.judgement import (
    JudgedEvaluation,
    JudgingSetup,
    complete_evaluation,
    judge_candidate,
)
from twin_assets.evaluation.measures.measure import Measurements
from twin_assets.evaluation.report.evaluation_record import (
    AnswerComparison,
    evaluation_path,
    read_evaluation,
    write_evaluation,
)
from twin_assets.evaluation.report.experiment import SentExperiment
from twin_resources.errors import TwinError
from twin_resources.registry.moves import GateClaim, ModelVersion, Outcome, Verdict
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
            log=self.lines.append,
        )
        self.folder.mkdir(parents=True)
        write_pointer(self.folder.parent, "candidate", {"checkpoint": CHECKPOINT})
        register_version(self.registry, "ada", CHECKPOINT, folder=str(self.folder))

    def judged(self, measured: Measurements, *, first: bool) -> Verdict:
        """Store a verdict and its record."""
        claims: tuple[GateClaim, ...] = decide_first(measured) if first else decide(measured)
        verdict = Verdict(
            "ada", CHECKPOINT, GATE_VERSION, decide_outcome(claims), claims, "2026-01-01"
        )
        evaluation = replace(EVALUATION, checkpoint=CHECKPOINT, measured=measured, first=first)
        write_evaluation(evaluation_path(self.folder, GATE_VERSION), evaluation)
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


def test_a_version_with_a_first_verdict_alone_is_taken_back_by_the_whole(
    twin: JudgedTwin,
) -> None:
    assert twin.judged(FIRST, first=True).outcome == "passed"
    twin.released()
    assert twin.judged(BAD, first=False).outcome == "failed"

    judged = complete_evaluation(twin.judging)

    assert (judged.withdrawn_version, twin.state) == ("v1", "refused")
    assert (judged.is_full_gate, judged.measured_now) == (True, False)
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
    assert (complete_evaluation(twin.judging).withdrawn_version, twin.state) == ("", "stable")


def test_one_that_a_person_released_against_the_gate_stays(twin: JudgedTwin) -> None:
    twin.judged(BAD, first=False)
    twin.registry.move("ada", 1, "refused", actor="gate", reason="r")
    twin.released(force=True)
    assert (complete_evaluation(twin.judging).withdrawn_version, twin.state) == ("", "stable")


def test_what_has_passed_is_left_alone(twin: JudgedTwin) -> None:
    twin.judged(FIRST, first=True)
    twin.released()
    twin.judged(GOOD, first=False)
    judged = complete_evaluation(twin.judging)
    assert (judged.withdrawn_version, twin.state, twin.lines) == ("", "stable", [])


def test_what_was_never_released_has_nothing_to_be_taken_back(twin: JudgedTwin) -> None:
    twin.judged(BAD, first=False)
    assert (complete_evaluation(twin.judging).withdrawn_version, twin.state) == ("", "candidate")


def test_without_a_verdict_there_is_nothing_to_complete(twin: JudgedTwin) -> None:
    with pytest.raises(TwinError, match="materialize checkpoint_evaluation"):
        complete_evaluation(twin.judging)


@pytest.mark.parametrize("crashed", [False, True])
def test_a_first_verdict_never_counts_as_the_whole_gate(twin: JudgedTwin, crashed: bool) -> None:
    """Nor does its record count for a verdict of the whole gate, whose own was never written."""
    twin.judged(FIRST, first=True)
    twin.released()
    if crashed:
        claims = decide(GOOD)
        twin.registry.record_verdict(
            Verdict("ada", CHECKPOINT, GATE_VERSION, "passed", claims, "2026-01-02")
        )
    with pytest.raises(AttributeError, match="precision"):
        complete_evaluation(twin.judging)  # it measures, and there is no server


SHOWN = AnswerComparison("s1", "d1", "c1", "Which oil?", "Clock oil.", "Oil.", None)


def judged_now(
    twin: JudgedTwin,
    monkeypatch: pytest.MonkeyPatch,
    measured: Measurements,
    *,
    first: bool = False,
    shown: tuple[AnswerComparison, ...] = (SHOWN,),
    send: Any = None,
) -> JudgedEvaluation:
    """What is made of this measurement; measuring itself asks a model server (tests/live)."""
    evaluation = replace(EVALUATION, checkpoint=CHECKPOINT, measured=measured, first=first)
    monkeypatch.setattr(judgement, "measure", lambda *_, **__: (evaluation, shown))
    servers: Any = SimpleNamespace(engine="echo", base_alias="base")
    question: Any = None
    return judgement._measure_and_judge(
        replace(twin.judging, servers=servers, send_experiment=send),
        twin.registry.get("ada", 1), question,
        "r", is_first_verdict=first,
    )  # fmt: skip


@pytest.mark.parametrize(("measured", "first", "outcome"), [
    (FIRST, True, "passed"), (FIRST, False, "not_decided"), (GOOD, False, "passed"),
    (BAD, False, "failed"), (BAD, True, "failed"),
])  # fmt: skip
def test_what_is_measured_is_decided_reported_stored_and_sent(
    twin: JudgedTwin,
    monkeypatch: pytest.MonkeyPatch,
    measured: Measurements,
    first: bool,
    outcome: str,
) -> None:
    sent: list[str] = []

    def send(
        verdict: Verdict, shown: object, *, inputs_hash: str, advisory_claims: object
    ) -> SentExperiment:
        assert shown == (SHOWN,)
        assert inputs_hash == EVALUATION.rests_on
        assert advisory_claims
        sent.append(verdict.outcome)
        return SentExperiment("held-out", 1, {"candidate": "e1"}, "")

    judged = judged_now(twin, monkeypatch, measured, first=first, send=send)

    assert (judged.verdict.outcome, judged.measured_now, judged.is_full_gate) == (
        outcome,
        True,
        not first,
    )
    assert twin.registry.verdict(CHECKPOINT, GATE_VERSION) == judged.verdict
    assert read_evaluation(judged.report.with_suffix(".json")) == judged.evaluation
    assert "Which oil?" in judged.report.with_name(f"{GATE_VERSION}-answers.md").read_text()
    # a first verdict is a part of the whole, which is sent when it is known
    assert sent == ([] if first else [outcome])
    assert judged.experiment == ("" if first else "experiment e1")


def test_a_verdict_stands_whether_or_not_langfuse_takes_its_experiment(
    twin: JudgedTwin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: object, **__: object) -> SentExperiment:
        raise TwinError("send an experiment", found="HTTP 500", next_step="try again")

    judged = judged_now(twin, monkeypatch, GOOD, send=refusing)
    assert judged.experiment == "not sent: HTTP 500; try again"
    assert "the experiment was not sent to Langfuse" in twin.lines[-1]
    assert judged_now(twin, monkeypatch, GOOD, shown=(), send=refusing).experiment == ""
    assert judged_now(twin, monkeypatch, GOOD).experiment == ""

    def shown(*_: object, **__: object) -> SentExperiment:
        return SentExperiment("d", 5, {"candidate": "e1"}, "http://langfuse.test/experiments/e1")

    assert judged_now(twin, monkeypatch, GOOD, send=shown).experiment.endswith("/e1")


class Candidates:
    """An author whose checkpoints have manifests and a dataset under a tag; what is measured is
    noted, and has the verdict that the test wants."""

    def __init__(self, home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.twin = JudgedTwin(home)
        self.registry = self.twin.registry
        self.outcome: Outcome = "passed"
        self.measured: list[tuple[int, bool]] = []
        self.rests_on = ""
        tables = self.twin.judging.tables
        rows = [dict.fromkeys(SAMPLE_SCHEMA) for _ in range(2)]
        for number, row in enumerate(rows):
            row |= {"sample_id": f"s{number}", "document_id": f"d{number}", "split": SPLITS[number]}
        frame = pl.DataFrame(rows, schema=SAMPLE_SCHEMA)
        store_rows(tables, "instruction_dataset", "ada", frame, key="sample_id")
        tables.tag("instruction_dataset", "ada", "training")
        servers: Any = SimpleNamespace(precision=lambda _: "bf16")
        self.judging = replace(self.twin.judging, servers=servers)
        self.manifest(self.twin.folder)

        def measured(
            _judging: JudgingSetup,
            version: ModelVersion,
            _question: EvaluationSpec,
            rests_on: str,
            *,
            is_first_verdict: bool,
        ) -> JudgedEvaluation:
            self.measured.append((version.version, is_first_verdict))
            self.rests_on = rests_on
            claims = (decide_first if is_first_verdict else decide)(GOOD)
            verdict = Verdict("ada", version.checkpoint, GATE_VERSION, self.outcome, claims, "now")
            self.registry.record_verdict(verdict)
            return JudgedEvaluation(EVALUATION, verdict, Path("report.md"), measured_now=True)

        # measuring asks a model server: tests/live/evaluation
        monkeypatch.setattr(judgement, "_measure_and_judge", measured)

    def manifest(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        said = {"base": {"revision": "r", "gguf": None}, "dataset": {"tag": "training"}}
        manifest: dict[str, Any] = {field.name: "" for field in fields(Manifest)}
        (folder / "manifest.json").write_text(json.dumps(manifest | said | {"schema": 1}))
        (folder / "adapter").mkdir()

    def add(self, letter: str) -> None:
        """Another candidate."""
        folder = self.twin.folder.parent / letter
        self.manifest(folder)
        write_pointer(folder.parent, "candidate", {"checkpoint": letter * 64})
        register_version(self.registry, "ada", letter * 64, folder=str(folder))

    def judge(self) -> JudgedEvaluation:
        return judge_candidate(self.judging)

    def store(self, *, first: bool, beside: str = "", passed: bool = True) -> None:
        """A verdict and a record that rests on what the candidate would be measured on now."""
        version, incumbent = judgement._find_candidate_and_incumbent(self.judging)
        question = judgement._build_spec(self.judging, version, incumbent)
        claims = (decide_first if first else decide)(GOOD)
        outcome: Outcome = "passed" if passed else "failed"
        verdict = Verdict("ada", version.checkpoint, GATE_VERSION, outcome, claims, "2026-01-01")
        self.registry.record_verdict(verdict)
        rests_on = question.inputs_hash(beside, GATE_VERSION)
        record = replace(
            EVALUATION, checkpoint=version.checkpoint, measured=GOOD, first=first, rests_on=rests_on
        )
        write_evaluation(evaluation_path(Path(version.folder), GATE_VERSION), record)


SPLITS = ("train", "held_out")


@pytest.fixture
def candidates(home: Settings, monkeypatch: pytest.MonkeyPatch) -> Candidates:
    return Candidates(home, monkeypatch)


def test_a_first_candidate_has_a_first_verdict_and_a_later_one_the_whole_gate(
    candidates: Candidates,
) -> None:
    assert candidates.judge().measured_now
    candidates.twin.released()
    candidates.add("d")
    candidates.judge()
    assert candidates.measured == [(1, True), (2, False)]


def test_beside_an_answer_model_nothing_is_gained_by_haste(candidates: Candidates) -> None:
    register_version(
        candidates.registry,
        "ada",
        "named",
        base="http://x#large",
        base_gguf="",
        kind="answer_model",
    )
    candidates.registry.move("ada", 2, "stable", actor="a", reason="r", force=True)
    candidates.judge()
    assert candidates.measured == [(1, False)]


@pytest.mark.parametrize("outcome", ["passed", "failed", "not_decided"])
@pytest.mark.parametrize("state", ["candidate", "stable"])
def test_what_does_not_pass_is_refused_where_it_is_a_candidate(
    candidates: Candidates, outcome: Outcome, state: str
) -> None:
    candidates.outcome = outcome
    if state == "stable":
        candidates.registry.move("ada", 1, "refused", actor="a", reason="r")
        candidates.twin.released(force=True)
    candidates.judge()
    refused = state == "candidate" and outcome != "passed"
    assert candidates.twin.state == ("refused" if refused else state)
    if refused:
        last = candidates.registry.moves("ada")[-1]
        assert (last.actor, last.version) == ("checkpoint_evaluation", 1)


@pytest.mark.parametrize("first", [False, True])
def test_what_was_judged_on_exactly_this_is_not_measured_again(
    candidates: Candidates, first: bool
) -> None:
    candidates.store(first=first)
    judged = candidates.judge()
    assert (judged.measured_now, candidates.measured) == (False, [])
    assert candidates.twin.lines == ["v1 was already evaluated on the same inputs: passed"]


def test_a_first_verdict_does_for_nothing_beside_a_stable_version(candidates: Candidates) -> None:
    candidates.store(first=True)
    candidates.twin.released()
    candidates.add("d")
    candidates.store(first=True, beside=CHECKPOINT)
    candidates.judge()
    assert candidates.measured == [(2, False)]
    candidates.store(first=False, beside=CHECKPOINT)
    assert not candidates.judge().measured_now
    candidates.store(first=False, beside="e" * 64)  # of another stable version
    candidates.judge()
    assert candidates.measured == [(2, False)] * 2


def test_the_question_names_whom_it_is_compared_with_and_what_they_were_trained_on(
    candidates: Candidates,
) -> None:
    def asked() -> EvaluationSpec:
        return judgement._build_spec(
            candidates.judging, *judgement._find_candidate_and_incumbent(candidates.judging)
        )

    alone = asked()
    assert (alone.incumbent, alone.best, alone.trained_on) == (None, None, {"d0"})
    assert (alone.candidate.name, alone.base.name, alone.other_author_count) == (
        "candidate",
        "base model",
        0,
    )
    candidates.store(first=False)
    candidates.twin.released()
    assert asked().incumbent is None, "a stable version is not compared with itself"
    candidates.add("d")
    beside = asked()
    assert beside.incumbent is not None
    assert (beside.incumbent.name, beside.best) == ("v1", None)
    assert beside.template == "t"
    with_other = replace(candidates.judging, other_authors=("ada", "nobody"))
    found = judgement._build_spec(with_other, *judgement._find_candidate_and_incumbent(with_other))
    assert found.other_author_count == 1


def test_what_a_first_verdict_leaves_open_is_measured_for_the_whole_gate(
    candidates: Candidates,
) -> None:
    candidates.store(first=True)
    assert complete_evaluation(candidates.judging).measured_now
    alone = candidates.rests_on
    candidates.store(first=False)
    candidates.twin.released()
    candidates.add("d")
    candidates.store(first=True, beside=CHECKPOINT)
    complete_evaluation(candidates.judging)
    assert candidates.measured == [(1, False), (2, False)]
    version, incumbent = judgement._find_candidate_and_incumbent(candidates.judging)
    question = judgement._build_spec(candidates.judging, version, incumbent)
    assert candidates.rests_on == question.inputs_hash(CHECKPOINT, GATE_VERSION) != alone


def test_a_candidate_that_was_never_entered_is_told(candidates: Candidates) -> None:
    write_pointer(candidates.twin.folder.parent, "candidate", {"checkpoint": "e" * 64})
    with pytest.raises(TwinError, match=r"checkpoint eeeeeeeeeeee is not in the registry"):
        candidates.judge()
