"""Test which stored evaluations count and how their verdicts change a version's state."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from tests.model_versions import register_version
from tests.sample_schema import SAMPLE_SCHEMA
from tests.stored_rows import store_rows
from tests.unit.evaluation.report.test_evaluation_record import EVALUATION
from tests.unit.evaluation.test_gate import PASSING_CLAIMS, change_claims
from twin_assets.checkpoints.manifest import Manifest, write_pointer
from twin_assets.evaluation import judgement
from twin_assets.evaluation.evaluation_spec import EvaluationSpec
from twin_assets.evaluation.gate import (
    CLAIMS,
    FIRST_CLAIMS,
    GATE_VERSION,
    decide_outcome,
    select_claims,
)
from twin_assets.evaluation.judgement import (
    JudgedEvaluation,
    JudgingSetup,
    complete_evaluation,
    judge_candidate,
)
from twin_assets.evaluation.report.evaluation_record import (
    AnswerComparison,
    Evaluation,
    evaluation_path,
    read_evaluation,
    write_evaluation,
)
from twin_assets.evaluation.report.experiment import SentExperiment
from twin_assets.evaluation.sequential_plan import (
    EVERY_CLAIM,
    FIRST_VERDICT,
    FULL_GATE,
    REMAINING,
    GateStage,
)
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.registry.moves import GateClaim, Outcome, Verdict
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

CHECKPOINT = "c" * 64
FAILING_CLAIMS = change_claims(PASSING_CLAIMS, template_hash_matches=False)
FIRST_CLAIMS_ONLY = change_claims(PASSING_CLAIMS, learns_this_author=None)
ANSWERS = (AnswerComparison("s1", "d1", "c1", "Which oil?", "Clock oil.", "Oil.", None),)
SPLITS = ("train", "held_out")
LANGFUSE = {
    "langfuse_host": "http://langfuse.test", "langfuse_public_key": "p", "langfuse_secret_key": "s",
}  # fmt: skip


class EvaluatedAuthor:
    """An author with a registered candidate; tests store its evaluation and its verdict."""

    def __init__(self, home: Settings) -> None:
        state = open_home_state(home)
        self.registry = Registry(state, policy_path=home.policy_path)
        self.folder = home.checkpoints_dir / "ada" / "c"
        self.lines: list[str] = []
        servers: Any = SimpleNamespace(precision=lambda _: "bf16", engine="echo", base_alias="base")
        embedder: Any = None  # unused, because no test measures anything
        self.setup = JudgingSetup(
            Author("ada", "Ada"),
            home,
            Tables(home.tables_base, state=state),
            self.registry,
            servers,
            embedder,
            self.lines.append,
        )
        self.folder.mkdir(parents=True)
        write_pointer(self.folder.parent, "candidate", {"checkpoint": CHECKPOINT})
        register_version(self.registry, "ada", CHECKPOINT, folder=str(self.folder))

    def store(
        self, claims: tuple[GateClaim, ...], *, is_first_verdict: bool, **record_fields: Any
    ) -> Verdict:
        """Store the candidate's verdict and its record."""
        version, _ = judgement._find_candidate_and_incumbent(self.setup)
        decided = select_claims(claims, FIRST_CLAIMS if is_first_verdict else CLAIMS)
        outcome = decide_outcome(decided)
        verdict = Verdict("ada", version.checkpoint, GATE_VERSION, outcome, decided, "2026-01-01")
        self.registry.record_verdict(verdict)
        record = replace(
            EVALUATION, checkpoint=version.checkpoint, claims=claims, first=is_first_verdict
        )
        path = evaluation_path(Path(version.folder), GATE_VERSION)
        write_evaluation(path, replace(record, **record_fields))
        return verdict

    def release(self, *, force: bool = False) -> None:
        self.registry.move(
            "ada", 1, "stable", actor="a", reason="r", force=force, gate_version=GATE_VERSION
        )

    @property
    def state(self) -> str:
        return self.registry.get("ada", 1).state


@pytest.fixture
def author(home: Settings) -> EvaluatedAuthor:
    return EvaluatedAuthor(home)


def test_the_full_gate_withdraws_a_version_that_had_only_a_first_verdict(
    author: EvaluatedAuthor,
) -> None:
    assert author.store(FIRST_CLAIMS_ONLY, is_first_verdict=True).outcome == "passed"
    author.release()
    assert author.store(FAILING_CLAIMS, is_first_verdict=False).outcome == "failed"

    result = complete_evaluation(author.setup)

    assert (result.withdrawn_version, author.state) == ("v1", "refused")
    assert (result.is_full_gate, result.is_newly_measured) == (True, False)
    assert result.report_path.name == f"{GATE_VERSION}.md"
    assert "withdrawn: the gate refused: template_hash" in author.lines[-1]
    last_move = author.registry.moves("ada")[-1]
    assert (last_move.actor, last_move.to_state) == ("evaluation_report", "refused")


FIRST, FULL = True, False  # the kind of a stored verdict


@pytest.mark.parametrize(
    ("before", "release", "after", "expected"),
    [
        ((FIRST_CLAIMS_ONLY, FIRST), "by the gate", (PASSING_CLAIMS, FULL), ("", "stable")),
        # it once passed the whole gate
        ((PASSING_CLAIMS, FULL), "by the gate", (FAILING_CLAIMS, FULL), ("", "stable")),
        ((FAILING_CLAIMS, FULL), "by hand", None, ("", "stable")),
        ((FAILING_CLAIMS, FULL), "", None, ("", "candidate")),
    ],
)
def test_only_a_version_without_a_pass_of_the_full_gate_is_withdrawn(
    author: EvaluatedAuthor,
    before: tuple[tuple[GateClaim, ...], bool],
    release: str,
    after: tuple[tuple[GateClaim, ...], bool] | None,
    expected: tuple[str, str],
) -> None:
    author.store(before[0], is_first_verdict=before[1])
    if release == "by hand":
        author.registry.move("ada", 1, "refused", actor="gate", reason="r")
    if release:
        author.release(force=release == "by hand")
    if after is not None:
        author.store(after[0], is_first_verdict=after[1])

    withdrawn = complete_evaluation(author.setup).withdrawn_version

    assert (withdrawn, author.state) == expected
    assert author.lines == []


def test_completing_requires_a_verdict(author: EvaluatedAuthor) -> None:
    with pytest.raises(TwinError, match="materialize checkpoint_evaluation"):
        complete_evaluation(author.setup)


@pytest.mark.parametrize("crashed", [False, True])
def test_a_first_verdicts_record_never_counts_for_the_full_gate(
    author: EvaluatedAuthor, crashed: bool
) -> None:
    """A crash before the record is written leaves the new verdict with the old record."""
    author.store(FIRST_CLAIMS_ONLY, is_first_verdict=True)
    author.release()
    if crashed:
        claims = select_claims(PASSING_CLAIMS, CLAIMS)
        author.registry.record_verdict(
            Verdict("ada", CHECKPOINT, GATE_VERSION, "passed", claims, "2026-01-02")
        )
    with pytest.raises(TwinError, match="no manifest"):  # a measurement starts
        complete_evaluation(author.setup)


def measure_and_judge(
    author: EvaluatedAuthor,
    monkeypatch: pytest.MonkeyPatch,
    claims: tuple[GateClaim, ...],
    *,
    is_first_verdict: bool = False,
    answers: tuple[AnswerComparison, ...] = ANSWERS,
    send: Any = None,
) -> JudgedEvaluation:
    """Judge these claims; measuring itself needs a model server (tests/live)."""
    if is_first_verdict:
        claims = select_claims(claims, FIRST_CLAIMS)
    evaluation = replace(EVALUATION, checkpoint=CHECKPOINT, claims=claims, first=is_first_verdict)
    monkeypatch.setattr(judgement, "_build_judging_context", lambda *_: None)
    monkeypatch.setattr(judgement, "measure_checkpoint", lambda *_, **__: (evaluation, answers))
    monkeypatch.setattr(judgement, "send_experiment", send)
    settings = author.setup.settings.model_copy(update=LANGFUSE if send else {})
    spec: Any = None
    return judgement._measure_and_judge(
        replace(author.setup, settings=settings),
        author.registry.get("ada", 1),
        spec,
        "r",
        FIRST_VERDICT if is_first_verdict else FULL_GATE,
    )


@pytest.mark.parametrize(("claims", "is_first_verdict", "outcome"), [
    (FIRST_CLAIMS_ONLY, True, "passed"), (FIRST_CLAIMS_ONLY, False, "not_decided"),
    (PASSING_CLAIMS, False, "passed"),
    (FAILING_CLAIMS, False, "failed"), (FAILING_CLAIMS, True, "failed"),
])  # fmt: skip
def test_measurements_are_decided_reported_stored_and_sent(
    author: EvaluatedAuthor,
    monkeypatch: pytest.MonkeyPatch,
    claims: tuple[GateClaim, ...],
    is_first_verdict: bool,
    outcome: str,
) -> None:
    sent_outcomes: list[str] = []

    def send(
        _settings: Settings,
        verdict: Verdict,
        answers: object,
        *,
        inputs_hash: str,
        advisory_claims: object,
    ) -> SentExperiment:
        assert (answers, inputs_hash) == (ANSWERS, EVALUATION.rests_on)
        assert advisory_claims
        sent_outcomes.append(verdict.outcome)
        return SentExperiment(1, {"candidate": "e1"}, "")

    result = measure_and_judge(
        author, monkeypatch, claims, is_first_verdict=is_first_verdict, send=send
    )

    assert (result.verdict.outcome, result.is_newly_measured) == (outcome, True)
    assert result.is_full_gate is not is_first_verdict
    assert author.registry.verdict(CHECKPOINT, GATE_VERSION) == result.verdict
    assert read_evaluation(result.report_path.with_suffix(".json")) == result.evaluation
    assert "Which oil?" in result.report_path.with_name(f"{GATE_VERSION}-answers.md").read_text()
    # the full gate later sends the answers of a first verdict
    assert sent_outcomes == ([] if is_first_verdict else [outcome])
    assert result.experiment == ("" if is_first_verdict else "experiment e1")


def test_the_verdict_stays_valid_if_langfuse_refuses_the_experiment(
    author: EvaluatedAuthor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> SentExperiment:
        raise TwinError("send an experiment", found="HTTP 500", next_step="try again")

    def accept(*_: object, **__: object) -> SentExperiment:
        return SentExperiment(5, {"candidate": "e1"}, "http://langfuse.test/experiments/e1")

    def experiment(**options: Any) -> str:
        return measure_and_judge(author, monkeypatch, PASSING_CLAIMS, **options).experiment

    assert experiment(send=refuse) == "not sent: HTTP 500; try again"
    assert "the experiment was not sent to Langfuse" in author.lines[-1]
    assert experiment(send=refuse, answers=()) == ""
    assert experiment() == "", "no Langfuse is configured"
    assert experiment(send=accept).endswith("/e1")


class Candidates(EvaluatedAuthor):
    """An author with trained checkpoints; measuring returns `outcome` and is recorded.

    Attributes:
        measurements: version and stage of each measurement.
        inputs_hash: the inputs of the last measurement.
        first: the first verdict's evaluation, whose values the last measurement completed.
    """

    def __init__(self, home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(home)
        self.outcome: Outcome = "passed"
        self.measurements: list[tuple[int, GateStage]] = []
        self.inputs_hash = ""
        self.first: Evaluation | None = None
        rows = [
            dict.fromkeys(SAMPLE_SCHEMA)
            | {"sample_id": f"s{number}", "document_id": f"d{number}", "split": split}
            for number, split in enumerate(SPLITS)
        ]
        frame = pl.DataFrame(rows, schema=SAMPLE_SCHEMA)
        store_rows(self.setup.tables, "instruction_dataset", "ada", frame, key="sample_id")
        self.setup.tables.tag("instruction_dataset", "ada", "training")
        self._write_manifest(self.folder)
        monkeypatch.setattr(judgement, "_measure_and_judge", self._measure_and_judge)

    def _measure_and_judge(
        self, _setup: object, version: Any, _spec: object, inputs_hash: str, stage: GateStage, *,
        first: Evaluation | None = None,
    ) -> JudgedEvaluation:  # fmt: skip
        self.measurements.append((version.version, stage))
        self.first = first
        self.inputs_hash = inputs_hash
        names = FIRST_CLAIMS if stage is FIRST_VERDICT else CLAIMS
        claims = select_claims(PASSING_CLAIMS, names)
        verdict = Verdict("ada", version.checkpoint, GATE_VERSION, self.outcome, claims, "now")
        self.registry.record_verdict(verdict)
        return JudgedEvaluation(EVALUATION, verdict, Path("report.md"), is_newly_measured=True)

    def _write_manifest(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        values = {"base": {"revision": "r", "gguf": None}, "dataset": {"tag": "training"}}
        manifest: dict[str, Any] = {field.name: "" for field in fields(Manifest)}
        (folder / "manifest.json").write_text(json.dumps(manifest | values | {"schema": 1}))
        (folder / "adapter").mkdir()

    def add_candidate(self, letter: str) -> None:
        folder = self.folder.parent / letter
        self._write_manifest(folder)
        write_pointer(folder.parent, "candidate", {"checkpoint": letter * 64})
        register_version(self.registry, "ada", letter * 64, folder=str(folder))

    def judge(self) -> JudgedEvaluation:
        return judge_candidate(self.setup)

    def build_spec(self, **changes: Any) -> EvaluationSpec:
        setup = replace(self.setup, **changes)
        return judgement._build_spec(setup, *judgement._find_candidate_and_incumbent(setup))

    def store_current(self, *, is_first_verdict: bool, incumbent: str = "") -> None:
        """Store an evaluation with the inputs that a measurement would have now."""
        inputs_hash = self.build_spec().inputs_hash(incumbent, GATE_VERSION)
        self.store(PASSING_CLAIMS, is_first_verdict=is_first_verdict, rests_on=inputs_hash)


@pytest.fixture
def candidates(home: Settings, monkeypatch: pytest.MonkeyPatch) -> Candidates:
    return Candidates(home, monkeypatch)


def test_claims_on_request_are_measured_only_when_asked_for(candidates: Candidates) -> None:
    unasked = select_claims(PASSING_CLAIMS, CLAIMS)
    candidates.store(unasked, is_first_verdict=False)
    candidates.release()
    complete_evaluation(candidates.setup)
    assert candidates.measurements == []
    complete_evaluation(candidates.setup, has_claims_on_request=True)
    assert candidates.measurements == [(1, EVERY_CLAIM)]
    candidates.store(PASSING_CLAIMS, is_first_verdict=False)
    complete_evaluation(candidates.setup, has_claims_on_request=True)
    assert (candidates.measurements, candidates.state) == ([(1, EVERY_CLAIM)], "stable")


def test_a_first_candidate_gets_a_first_verdict_and_a_later_one_the_full_gate(
    candidates: Candidates,
) -> None:
    assert candidates.judge().is_newly_measured
    candidates.release()
    candidates.add_candidate("d")
    candidates.judge()
    assert candidates.measurements == [(1, FIRST_VERDICT), (2, FULL_GATE)]


def test_an_answer_model_makes_a_first_verdict_unnecessary(candidates: Candidates) -> None:
    address = {"base": "http://x#large", "base_gguf": "", "kind": "answer_model"}
    register_version(candidates.registry, "ada", "named", **address)
    candidates.registry.move("ada", 2, "stable", actor="a", reason="r", force=True)
    candidates.judge()
    assert candidates.measurements == [(1, FULL_GATE)]


@pytest.mark.parametrize("outcome", ["passed", "failed", "not_decided"])
@pytest.mark.parametrize("state", ["candidate", "stable"])
def test_only_a_candidate_that_does_not_pass_is_refused(
    candidates: Candidates, outcome: Outcome, state: str
) -> None:
    candidates.outcome = outcome
    if state == "stable":
        candidates.registry.move("ada", 1, "refused", actor="a", reason="r")
        candidates.release(force=True)
    candidates.judge()
    is_refused = state == "candidate" and outcome != "passed"
    assert candidates.state == ("refused" if is_refused else state)
    if is_refused:
        last_move = candidates.registry.moves("ada")[-1]
        assert (last_move.actor, last_move.version) == ("checkpoint_evaluation", 1)


@pytest.mark.parametrize("is_first_verdict", [False, True])
def test_unchanged_inputs_are_not_measured_again(
    candidates: Candidates, is_first_verdict: bool
) -> None:
    candidates.store_current(is_first_verdict=is_first_verdict)
    result = candidates.judge()
    assert (result.is_newly_measured, candidates.measurements) == (False, [])
    assert candidates.lines == ["v1 was already evaluated on the same inputs: passed"]


def test_a_candidate_after_a_stable_version_needs_the_full_gate_against_it(
    candidates: Candidates,
) -> None:
    candidates.store_current(is_first_verdict=True)
    candidates.release()
    candidates.add_candidate("d")
    candidates.store_current(is_first_verdict=True, incumbent=CHECKPOINT)
    candidates.judge()
    assert candidates.measurements == [(2, FULL_GATE)]
    candidates.store_current(is_first_verdict=False, incumbent=CHECKPOINT)
    assert not candidates.judge().is_newly_measured
    candidates.store_current(is_first_verdict=False, incumbent="e" * 64)  # another incumbent
    candidates.judge()
    assert candidates.measurements == [(2, FULL_GATE)] * 2


def test_the_specification_names_the_compared_models_and_their_training_documents(
    candidates: Candidates,
) -> None:
    spec = candidates.build_spec()
    assert (spec.incumbent, spec.best, spec.trained_on) == (None, None, {"d0"})
    assert (spec.candidate.name, spec.base.name) == ("candidate", "base model")
    assert spec.other_author_count == 0
    candidates.store_current(is_first_verdict=False)
    candidates.release()
    assert candidates.build_spec().incumbent is None, "a version is not compared with itself"
    candidates.add_candidate("d")
    spec = candidates.build_spec()
    assert spec.incumbent is not None
    assert (spec.incumbent.name, spec.best, spec.template) == ("v1", None, "t")
    assert candidates.build_spec(other_authors=("ada", "nobody")).other_author_count == 1


def test_after_a_first_verdict_only_the_remaining_claims_are_measured(
    candidates: Candidates,
) -> None:
    candidates.store_current(is_first_verdict=True)
    assert complete_evaluation(candidates.setup).is_newly_measured
    assert candidates.first is not None
    assert candidates.first.claims == PASSING_CLAIMS
    candidates.store(PASSING_CLAIMS, is_first_verdict=True, rests_on="other posts")
    complete_evaluation(candidates.setup)
    assert candidates.first is None, "values of other inputs were used"
    hash_without_incumbent = candidates.inputs_hash
    candidates.store_current(is_first_verdict=False)
    candidates.release()
    candidates.add_candidate("d")
    candidates.store_current(is_first_verdict=True, incumbent=CHECKPOINT)
    complete_evaluation(candidates.setup)
    assert candidates.measurements == [(1, REMAINING), (1, FULL_GATE), (2, REMAINING)]
    expected_hash = candidates.build_spec().inputs_hash(CHECKPOINT, GATE_VERSION)
    assert candidates.inputs_hash == expected_hash != hash_without_incumbent


def test_the_claims_of_both_stages_make_one_verdict(
    author: EvaluatedAuthor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first verdict's claims are the only ones about topic, recitation and safety."""
    remaining = [claim for claim in PASSING_CLAIMS if claim.name not in FIRST_CLAIMS]
    evaluation = replace(
        EVALUATION,
        checkpoint=CHECKPOINT,
        claims=select_claims(remaining, CLAIMS),
        perplexity=None,
        ratio_to_base=None,
        seconds={"judges": 2.0},
    )
    monkeypatch.setattr(judgement, "_build_judging_context", lambda *_: None)
    monkeypatch.setattr(judgement, "measure_checkpoint", lambda *_, **__: (evaluation, ANSWERS))
    first = replace(
        EVALUATION, claims=select_claims(PASSING_CLAIMS, FIRST_CLAIMS), seconds={"judges": 1.0}
    )
    spec: Any = None

    result = judgement._measure_and_judge(
        author.setup, author.registry.get("ada", 1), spec, "r", REMAINING, first=first
    )

    assert [claim.name for claim in result.verdict.claims] == list(CLAIMS)
    assert result.verdict.outcome == "passed"
    assert result.evaluation.claims == result.verdict.claims
    assert (result.evaluation.perplexity, result.evaluation.ratio_to_base) == (23.5, 0.68)
    assert result.evaluation.seconds == {"judges": 3.0}


def test_an_unregistered_candidate_is_an_error(candidates: Candidates) -> None:
    write_pointer(candidates.folder.parent, "candidate", {"checkpoint": "e" * 64})
    with pytest.raises(TwinError, match=r"checkpoint eeeeeeeeeeee is not in the registry"):
        candidates.judge()
