"""Judge a candidate: measure it once, apply the gate, store the verdict by checkpoint hash.

Scope: finding the candidate and the models to compare it with, choosing a first verdict or the
whole gate, the stored evaluation, the verdict, refusal and withdrawal in the registry.
Out of scope: measuring (`measurement.py`), deciding (`gate.py`), releasing, Dagster.

A verdict belongs to a checkpoint and a version of the gate. Its claims show whether it is a first
verdict or one of the whole gate (`gate.is_whole`). The newest verdict counts. If a version is
stable, the whole gate is decided at once. Otherwise a first verdict releases, and
`complete_evaluation` withdraws the release if the whole gate does not pass. Both use one record:
the whole gate's replaces the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from twin_assets.checkpoints.manifest import read_manifest, read_pointer
from twin_assets.checkpoints.published_weights import weights_of
from twin_assets.evaluation.best_released import best_released
from twin_assets.evaluation.evaluation_spec import (
    EvaluatedModel,
    EvaluationSpec,
    JudgingContext,
    ReferenceAdapter,
    ServerStarters,
)
from twin_assets.evaluation.gate import (
    GATE_VERSION,
    decide,
    decide_first,
    is_whole,
    outcome_of,
    stated,
)
from twin_assets.evaluation.judged.calibrated_judges import calibrated
from twin_assets.evaluation.judged.judge_material import (
    chunk_texts,
    material_of,
    topic_material,
    with_dataset,
)
from twin_assets.evaluation.likelihood.held_out import training_pairs
from twin_assets.evaluation.measurement import measure
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.measures.held_out_perplexity import MIN_PASSAGES
from twin_assets.evaluation.report import evaluation_record
from twin_assets.evaluation.report.evaluation_record import Evaluation, SideBySide
from twin_assets.evaluation.report.experiment import SendExperiment
from twin_assets.evaluation.report.markdown import write_report
from twin_assets.instructions.instruction_tables import OF_THE_AUTHOR
from twin_resources.errors import TwinError
from twin_resources.models.model_fit import parameters_of
from twin_resources.models.serving.served_model import Serve
from twin_resources.quality.judges.named import NO_JUDGES, NamedJudges
from twin_resources.quality.judges.texts import merged
from twin_resources.quality.judges.topic import TOPIC
from twin_resources.quality.judges.voice import VOICE
from twin_resources.registry.moves import ModelVersion, Verdict, refusal

if TYPE_CHECKING:
    from twin_resources.models.embedder.embedder import Embedder
    from twin_resources.models.serving.model_server import ModelServers
    from twin_resources.registry.registry import Registry
    from twin_resources.storage.tables.tables import Tables

DATASET = "instruction_dataset"
ACTOR = "checkpoint_evaluation"
REPORT = "evaluation_report"

# Find the adapter of other authors for a base model, by its folder and revision.
FindReference = Callable[[Path, str], ReferenceAdapter | None]


def no_reference(_base: Path, _revision: str) -> None:
    """Return no adapter of other authors."""


@dataclass(frozen=True)
class JudgedEvaluation:
    """An evaluation with its verdict.

    Attributes:
        measured_now: false if a stored evaluation was still valid.
        experiment: where Langfuse shows the evaluation, or why it does not; empty if Langfuse is
            not configured, or nothing was measured now.
        taken_back: the version that this verdict withdrew from stable; empty if none.
    """

    evaluation: Evaluation
    verdict: Verdict
    report: Path
    measured_now: bool
    experiment: str = ""
    taken_back: str = ""

    @property
    def whole(self) -> bool:
        """Whether the whole gate was decided; false for a first verdict."""
        return is_whole(self.verdict.claims)


@dataclass(frozen=True)
class JudgingSetup:
    """The resources and settings for judging an author's candidates.

    Attributes:
        checkpoints: the author's checkpoint folder.
        token_budget: tokens of held-out passages (`Settings.evaluation_tokens`).
        embedder: loads the embedder; called only if something is measured.
        say: receives one line of progress at a time.
        others: slugs of the instance's other authors, against whom the voice judge is trained.
        named: models that the operator named as judges.
        questions: number of questions for candidate and base (`Settings.evaluation_questions`).
        send: writes an experiment to Langfuse (`report/experiment.py`), or None for no experiment.
        reference: finds the adapter of other authors that the whole gate compares with.
    """

    author: str
    checkpoints: Path
    token_budget: int
    tables: Tables
    registry: Registry
    servers: ModelServers
    embedder: Callable[[], Embedder]
    say: Callable[[str], object]
    others: Sequence[str] = ()
    named: NamedJudges = NO_JUDGES
    questions: int = MIN_PASSAGES
    send: SendExperiment | None = None
    reference: FindReference = no_reference


def judge_candidate(judging: JudgingSetup) -> JudgedEvaluation:
    """Judge an author's candidate, or return the stored evaluation if nothing has changed.

    The whole gate judges it if a version is stable; otherwise it gets a first verdict. The verdict
    is stored by checkpoint hash. A candidate that does not pass becomes `refused`.

    Raises:
        TwinError: there is no candidate, no dataset, or the candidate cannot be served.
    """
    version, incumbent = _compared(judging)
    # an answer model is no incumbent of the gate, but it already answers: no hurry to release
    stable = judging.registry.stable(judging.author)
    first_only = incumbent is None and not (stable is not None and stable.is_answer_model)
    question = _question_of(judging, version, incumbent)
    rests_on = question.rests_on(incumbent.checkpoint if incumbent else "", GATE_VERSION)
    known = judging.registry.verdict(version.checkpoint, GATE_VERSION)
    stored = _stored(version, known, rests_on=rests_on)
    if stored is not None and (first_only or stored.whole):
        outcome = stored.verdict.outcome
        judging.say(f"v{version.version} was evaluated on exactly this before: {outcome}")
        return stored
    judged = _judged_now(judging, version, question, rests_on, first=first_only)
    if judged.verdict.outcome != "passed" and version.state == "candidate":
        # the failed check stops `released_model` in this run, so the refusal is entered here
        reason = refusal(judged.verdict)
        judging.registry.move(
            judging.author, version.version, "refused", actor=ACTOR, reason=reason
        )
    return judged


def complete_evaluation(judging: JudgingSetup) -> JudgedEvaluation:
    """Apply the whole gate to a candidate with a first verdict, or return the stored evaluation.

    A version that is stable by a first verdict alone and does not pass becomes `refused`, and the
    base model answers again. A version that has once passed the whole gate stays stable, as does
    one that a person released against the gate.

    Raises:
        TwinError: as `judge_candidate`, or nothing was judged yet.
    """
    registry = judging.registry
    version, incumbent = _compared(judging)
    verdicts = registry.verdicts(version.checkpoint, GATE_VERSION)
    if not verdicts:
        raise TwinError(
            f"complete the evaluation of v{version.version} of {judging.author}",
            found=f"no verdict of {GATE_VERSION} on its checkpoint",
            next_step="materialize checkpoint_evaluation, which decides what comes first",
        )
    judged = _stored(version, verdicts[-1])
    if judged is None or not judged.whole:
        question = _question_of(judging, version, incumbent)
        rests_on = question.rests_on(incumbent.checkpoint if incumbent else "", GATE_VERSION)
        judged = _judged_now(judging, version, question, rests_on, first=False)
    passed = any(is_whole(verdict.claims) and verdict.outcome == "passed" for verdict in verdicts)
    if judged.verdict.outcome == "passed" or passed:
        return judged
    # also for a stored verdict: the run that stored it may have been killed before this step
    version = registry.get(judging.author, version.version)
    if version.state != "stable" or version.forced:
        return judged
    reason = f"taken back: {refusal(judged.verdict)}"
    registry.move(
        judging.author,
        version.version,
        "refused",
        actor=REPORT,
        reason=reason,
        gate_version=GATE_VERSION,
    )
    judging.say(f"v{version.version} is {reason}")
    return replace(judged, taken_back=f"v{version.version}")


def _compared(judging: JudgingSetup) -> tuple[ModelVersion, ModelVersion | None]:
    version = _candidate(judging.author, judging.checkpoints, judging.registry)
    incumbent = judging.registry.stable(judging.author)
    if incumbent is not None and incumbent.checkpoint == version.checkpoint:
        incumbent = None  # a stable version is not compared with itself
    if incumbent is not None and incumbent.is_answer_model:
        incumbent = None  # it has no weights trained here, so a trial compares the answers
    return version, incumbent


def _stored(
    version: ModelVersion, known: Verdict | None, *, rests_on: str | None = None
) -> JudgedEvaluation | None:
    """Return the stored evaluation behind a verdict, or None if there is none.

    Args:
        rests_on: the inputs that the evaluation must have used, or None for any.
    """
    if known is None:
        return None
    path = evaluation_record.evaluation_path(Path(version.folder), GATE_VERSION)
    evaluation = evaluation_record.read_evaluation(path)
    if evaluation is None or is_whole(known.claims) is evaluation.first:
        return None
    if rests_on is not None and evaluation.rests_on != rests_on:
        return None
    return JudgedEvaluation(evaluation, known, path.with_suffix(".md"), measured_now=False)


def _judged_now(
    judging: JudgingSetup,
    version: ModelVersion,
    question: EvaluationSpec,
    rests_on: str,
    *,
    first: bool,
) -> JudgedEvaluation:
    author, servers = judging.author, judging.servers
    served = ServerStarters(
        candidate=lambda: servers.serve_version(version),
        base=lambda: servers.serve(_base_gguf(version), alias=servers.base_alias),
        engine=servers.engine,
    )
    evaluation, shown = measure(
        question,
        first=first,
        rests_on=rests_on,
        served=served,
        cache=MeasurementCache(judging.tables, author),
        beside=lambda: _context(judging, question, served.base, first=first),
        log=judging.say,
    )
    claims = (decide_first if first else decide)(evaluation.measured)
    verdict = Verdict(
        author=author,
        checkpoint=evaluation.checkpoint,
        gate_version=GATE_VERSION,
        outcome=outcome_of(claims),
        claims=claims,
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    path = evaluation_record.evaluation_path(Path(version.folder), GATE_VERSION)
    report = path.with_suffix(".md")
    write_report(report, evaluation, verdict, shown)
    judging.registry.record_verdict(verdict)
    # written last: a reader of the record pairs it with the newest verdict
    evaluation_record.write_evaluation(path, evaluation)
    experiment = ""
    if judging.send and shown and not first:
        experiment = _send_experiment(judging.send, verdict, evaluation, shown, judging.say)
    return JudgedEvaluation(evaluation, verdict, report, measured_now=True, experiment=experiment)


def _send_experiment(
    send: SendExperiment,
    verdict: Verdict,
    evaluation: Evaluation,
    shown: Sequence[SideBySide],
    log: Callable[[str], object],
) -> str:
    """Send the experiment and return where Langfuse shows it, or why it could not be sent.

    The verdict is stored already and stays valid if sending fails.
    """
    try:
        sent = send(
            verdict, shown, rests_on=evaluation.rests_on, stated=stated(evaluation.measured)
        )
    except TwinError as error:
        log(f"no experiment in Langfuse: {error}")
        return f"not sent: {error.found}; {error.next_step}"
    where = sent.url or f"experiment {sent.experiments['candidate']}"
    log(f"Langfuse has {sent.items} answers and the claims: {where}")
    return where


def _candidate(author: str, checkpoints: Path, registry: Registry) -> ModelVersion:
    checkpoint = read_pointer(checkpoints, "candidate")["checkpoint"]
    version = registry.by_checkpoint(checkpoint, author=author)
    if version is None:
        raise TwinError(
            f"evaluate the candidate of {author}",
            found=f"checkpoint {checkpoint[:12]} is not in the registry",
            next_step="materialize preference_tuned_checkpoint, which enters it",
        )
    return version


def _question_of(
    judging: JudgingSetup, version: ModelVersion, incumbent: ModelVersion | None
) -> EvaluationSpec:
    author, tables, precision = judging.author, judging.tables, judging.servers.precision
    best = best_released(judging.registry.versions(author), candidate=version)
    if best is not None and incumbent is not None and best.checkpoint == incumbent.checkpoint:
        best = None  # already compared as the incumbent
    trained_on: set[str] = set()
    for model in (version, incumbent, best):
        if model is not None:
            trained_on |= _trained_documents(author, model, tables)
    released = [
        None if model is None else _subject(f"v{model.version}", model, precision(model))
        for model in (incumbent, best)
    ]
    base, revision = Path(version.base), _base_revision(version)
    return EvaluationSpec(
        checkpoint=version.checkpoint,
        candidate=_subject("candidate", version, precision(version)),
        base=EvaluatedModel("base model", revision, base),
        incumbent=released[0],
        template=version.template,
        dataset=tables.read(DATASET, author, where=OF_THE_AUTHOR),
        dataset_version=tables.data_version(DATASET, author) or "",
        trained_on=frozenset(trained_on),
        token_budget=judging.token_budget,
        questions=judging.questions,
        nli_model=judging.named.entailment,
        others=len(with_dataset(tables, judging.others, log=judging.say)),
        best=released[1],
        reference=judging.reference(base, revision),
    )


def _context(
    judging: JudgingSetup, question: EvaluationSpec, serve_base: Serve, *, first: bool
) -> JudgingContext:
    """Return the judges and other people's texts.

    A first verdict uses the topic judge alone, because the voice judge needs a minute and a half of
    the base model's answers.
    """
    author, tables, named = judging.author, judging.tables, judging.named
    if first:
        material = topic_material(author, training_pairs(question.dataset))
    else:
        material = material_of(
            author,
            tables,
            others=judging.others,
            base=question.base.weights,
            serve_base=serve_base,
            log=judging.say,
        )
    billions = parameters_of(str(question.base.base_folder))
    judges = calibrated(
        material,
        tables,
        judging.embedder(),
        entailment=named.load_entailment if named.entailment else None,
        kinds=(TOPIC,) if first else (TOPIC, VOICE),
    )
    return JudgingContext(
        judges=judges,
        hands=merged([*material.others.training, *material.others.planted]),
        chunks=chunk_texts(tables, author),
        base_answers=material.base_answers,
        base_parameters=None if billions is None else round(billions * 1e9),
        unseen=material.others.planted,
    )


def _subject(name: str, model: ModelVersion, precision: str) -> EvaluatedModel:
    weights = weights_of(Path(model.folder), base=model.base, base_gguf=model.base_gguf)
    return EvaluatedModel(name, model.checkpoint, weights.model, weights.adapter, precision)


def _base_gguf(model: ModelVersion) -> str | None:
    """Return the base model's file, also for a fully trained version."""
    return read_manifest(Path(model.folder)).base["gguf"]


def _base_revision(model: ModelVersion) -> str:
    return str(read_manifest(Path(model.folder)).base["revision"])


def _trained_documents(author: str, model: ModelVersion, tables: Tables) -> set[str]:
    """Return the documents of the dataset version, pinned by tag, that a model was trained on."""
    tag: str = read_manifest(Path(model.folder)).dataset["tag"]
    trained = tables.read(
        DATASET, author, columns=["document_id"], where="split = 'train'", version=tag
    )
    return set(trained["document_id"])
