"""Judge a candidate: measure it once, apply the gate, store the verdict by checkpoint hash.

A verdict belongs to a checkpoint and a version of the gate. Its claims show whether it is a first
verdict or a verdict of the whole gate (`gate.is_full_gate`). The newest verdict counts. If a
version is stable, the whole gate is decided at once. Otherwise, a first verdict releases the
candidate, and `complete_evaluation` takes the remaining measures and withdraws the release if the
whole gate does not pass. Both verdicts use one record: the whole gate's evaluation, with the first
one's values, replaces the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from twin_assets.checkpoints.manifest import read_manifest, read_pointer
from twin_assets.checkpoints.published_weights import find_weights
from twin_assets.evaluation.best_released import find_best_released
from twin_assets.evaluation.evaluation_spec import (
    EvaluatedModel,
    EvaluationSpec,
    JudgingContext,
    ServerStarters,
)
from twin_assets.evaluation.gate import (
    CLAIMS,
    CLAIMS_ON_REQUEST,
    GATE_VERSION,
    RULES,
    decide_outcome,
    is_full_gate,
    select_claims,
)
from twin_assets.evaluation.judging.calibrated_judges import calibrate_judges
from twin_assets.evaluation.judging.judge_material import (
    BASE_QUESTION_COUNT,
    PLOTTED_BASE_QUESTION_COUNT,
    build_topic_material,
    find_authors_with_dataset,
    read_chunk_texts,
    read_judge_material,
)
from twin_assets.evaluation.likelihood.held_out import select_training_pairs
from twin_assets.evaluation.measurement import measure_checkpoint
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.measures import author_voice
from twin_assets.evaluation.progress import Clock
from twin_assets.evaluation.report import evaluation_record
from twin_assets.evaluation.report.evaluation_record import AnswerComparison, Evaluation
from twin_assets.evaluation.report.experiment import send_experiment
from twin_assets.evaluation.report.markdown import write_report
from twin_assets.evaluation.sequential_plan import (
    EVERY_CLAIM,
    FIRST_VERDICT,
    FULL_GATE,
    REMAINING,
    GateStage,
)
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.models.serving.served_model import StartServer
from twin_resources.quality.judges.entailment import load_entailment
from twin_resources.quality.judges.texts import merge_by_writer
from twin_resources.quality.judges.topic import TOPIC
from twin_resources.quality.judges.voice import VOICE
from twin_resources.registry.moves import ModelVersion, Verdict, describe_refusal
from twin_resources.settings import Settings

if TYPE_CHECKING:
    from twin_resources.models.embedder.embedder import Embedder
    from twin_resources.models.serving.model_server import ModelServers
    from twin_resources.registry.registry import Registry
    from twin_resources.storage.tables.tables import Tables

DATASET = "instruction_dataset"
EVALUATION_ASSET = "checkpoint_evaluation"
REPORT_ASSET = "evaluation_report"
ON_REQUEST_ASSET = "claims_on_request"


@dataclass(frozen=True)
class JudgedEvaluation:
    """An evaluation with its verdict.

    Attributes:
        is_newly_measured: false if a stored evaluation was still valid.
        experiment: the evaluation's address in Langfuse, or the reason why it has none; empty if
            Langfuse is not configured or nothing was measured.
        withdrawn_version: the version that this verdict withdrew from stable; empty if none.
    """

    evaluation: Evaluation
    verdict: Verdict
    report_path: Path
    is_newly_measured: bool
    experiment: str = ""
    withdrawn_version: str = ""

    @property
    def is_full_gate(self) -> bool:
        """Whether the whole gate was decided; false for a first verdict."""
        return is_full_gate(self.verdict.claims)


@dataclass(frozen=True)
class JudgingSetup:
    """The resources and settings for judging an author's candidates.

    Attributes:
        load_embedder: function that loads the embedder; called only if something is measured.
        log: function that receives one line of progress at a time.
        other_authors: slugs of the instance's other authors, whose texts train the voice judge.
    """

    profile: Author
    settings: Settings
    tables: Tables
    registry: Registry
    servers: ModelServers
    load_embedder: Callable[[], Embedder]
    log: Callable[[str], object]
    other_authors: Sequence[str] = ()

    @property
    def author(self) -> str:
        return self.profile.slug


def judge_candidate(setup: JudgingSetup) -> JudgedEvaluation:
    """Judge an author's candidate, or return the stored evaluation if nothing has changed.

    If a version is stable, the whole gate judges the candidate; otherwise, the candidate gets a
    first verdict. The verdict is stored by checkpoint hash. A candidate that does not pass becomes
    `refused`.

    Raises:
        TwinError: there is no candidate, no dataset, or the candidate cannot be served.
    """
    version, incumbent = _find_candidate_and_incumbent(setup)
    # an answer model is not an incumbent, but it answers readers, so a release is not urgent
    stable_version = setup.registry.stable_version(setup.author)
    is_first_verdict = incumbent is None and not (
        stable_version is not None and stable_version.is_answer_model
    )
    spec = _build_spec(setup, version, incumbent)
    inputs_hash = spec.inputs_hash(incumbent.checkpoint if incumbent else "", GATE_VERSION)
    previous_verdict = setup.registry.verdict(version.checkpoint, GATE_VERSION)
    stored_result = _find_stored_evaluation(version, previous_verdict, inputs_hash=inputs_hash)
    if stored_result is not None and (is_first_verdict or stored_result.is_full_gate):
        outcome = stored_result.verdict.outcome
        setup.log(f"v{version.version} was already evaluated on the same inputs: {outcome}")
        return stored_result
    stage = FIRST_VERDICT if is_first_verdict else FULL_GATE
    result = _measure_and_judge(setup, version, spec, inputs_hash, stage)
    if result.verdict.outcome != "passed" and version.state == "candidate":
        # the failed check stops `released_model` in this run, so the refusal is recorded here
        reason = describe_refusal(result.verdict)
        setup.registry.move(
            setup.author, version.version, "refused", actor=EVALUATION_ASSET, reason=reason
        )
    return result


def complete_evaluation(
    setup: JudgingSetup, *, has_claims_on_request: bool = False
) -> JudgedEvaluation:
    """Apply the whole gate to a candidate with a first verdict, or return the stored evaluation.

    A version that has only a first verdict and does not pass becomes `refused`, and the base model
    answers again. A version that has ever passed the whole gate stays stable, as does a version
    released by hand against the gate.

    Args:
        has_claims_on_request: whether also to measure the claims that prevent no release.

    Raises:
        TwinError: as for `judge_candidate`, or nothing has been judged yet.
    """
    registry = setup.registry
    version, incumbent = _find_candidate_and_incumbent(setup)
    verdicts = registry.verdicts(version.checkpoint, GATE_VERSION)
    if not verdicts:
        raise TwinError(
            f"complete the evaluation of v{version.version} of {setup.author}",
            found=f"no verdict from {GATE_VERSION} on its checkpoint",
            next_step="materialize checkpoint_evaluation, which gives the first verdict",
        )
    result = _find_stored_evaluation(version, verdicts[-1])
    if (
        result is None
        or not result.is_full_gate
        or (
            has_claims_on_request and not select_claims(result.evaluation.claims, CLAIMS_ON_REQUEST)
        )
    ):
        spec = _build_spec(setup, version, incumbent)
        inputs_hash = spec.inputs_hash(incumbent.checkpoint if incumbent else "", GATE_VERSION)
        first = _find_stored_evaluation(version, verdicts[-1], inputs_hash=inputs_hash)
        if has_claims_on_request:
            result = _measure_and_judge(setup, version, spec, inputs_hash, EVERY_CLAIM)
        elif first is not None and first.evaluation.first:
            result = _measure_and_judge(
                setup, version, spec, inputs_hash, REMAINING, first=first.evaluation
            )
        else:  # the inputs have changed since the first verdict
            result = _measure_and_judge(setup, version, spec, inputs_hash, FULL_GATE)
    has_passed = any(
        is_full_gate(verdict.claims) and verdict.outcome == "passed" for verdict in verdicts
    )
    if result.verdict.outcome == "passed" or has_passed:
        return result
    # This includes a stored verdict: the run that stored it may have been killed before this step.
    version = registry.get(setup.author, version.version)
    if version.state != "stable" or version.forced:
        return result
    reason = f"withdrawn: {describe_refusal(result.verdict)}"
    registry.move(
        setup.author,
        version.version,
        "refused",
        actor=REPORT_ASSET,
        reason=reason,
        gate_version=GATE_VERSION,
    )
    setup.log(f"v{version.version} is {reason}")
    return replace(result, withdrawn_version=f"v{version.version}")


def _find_candidate_and_incumbent(setup: JudgingSetup) -> tuple[ModelVersion, ModelVersion | None]:
    """Return the version that was trained last, and the stable version to compare it with.

    Raises:
        TwinError: nothing was trained here, or the registry lacks the checkpoint.
    """
    author, registry = setup.author, setup.registry
    pointer = read_pointer(setup.settings.checkpoints_dir / author, "candidate")
    version = registry.find_by_checkpoint(pointer["checkpoint"], author=author)
    if version is None:
        raise TwinError(
            f"evaluate the candidate of {author}",
            found=f"checkpoint {pointer['checkpoint'][:12]} is not in the registry",
            next_step="materialize preference_tuned_checkpoint, which registers it",
        )
    incumbent = registry.stable_version(author)
    # A stable version is not compared with itself. An answer model has no weights that were trained
    # here; a trial compares the answers.
    if incumbent is not None and (
        incumbent.checkpoint == version.checkpoint or incumbent.is_answer_model
    ):
        incumbent = None
    return version, incumbent


def _find_stored_evaluation(
    version: ModelVersion, verdict: Verdict | None, *, inputs_hash: str | None = None
) -> JudgedEvaluation | None:
    """Return the stored evaluation behind a verdict, or None if there is none.

    Args:
        inputs_hash: hash of the inputs that the evaluation must have used, or None for any.
    """
    if verdict is None:
        return None
    path = evaluation_record.evaluation_path(Path(version.folder), GATE_VERSION)
    evaluation = evaluation_record.read_evaluation(path)
    if evaluation is None or is_full_gate(verdict.claims) is evaluation.first:
        return None
    if inputs_hash is not None and evaluation.rests_on != inputs_hash:
        return None
    return JudgedEvaluation(evaluation, verdict, path.with_suffix(".md"), is_newly_measured=False)


def _measure_and_judge(
    setup: JudgingSetup,
    version: ModelVersion,
    spec: EvaluationSpec,
    inputs_hash: str,
    stage: GateStage,
    *,
    first: Evaluation | None = None,
) -> JudgedEvaluation:
    """Measure a stage, decide its claims, and store the verdict.

    Args:
        first: evaluation of the first verdict, whose values count besides those of the stage.
    """
    author, servers = setup.author, setup.servers
    starters = ServerStarters(
        candidate=lambda: servers.serve_version(version),
        # `version.base_gguf` is the version's own file if it has full weights
        base=lambda: servers.serve(
            read_manifest(Path(version.folder)).base["gguf"], alias=servers.base_alias
        ),
        engine=servers.engine,
    )
    clock = Clock()
    with clock.time_part("judges"):
        judging_context = _build_judging_context(setup, spec, starters.base, stage)
    evaluation, side_by_side = measure_checkpoint(
        spec,
        judging_context,
        stage=stage,
        inputs_hash=inputs_hash,
        starters=starters,
        cache=MeasurementCache(
            setup.tables, author, setup.settings.home / "cache" / "measurements"
        ),
        clock=clock,
        log=setup.log,
    )
    if first is not None:
        evaluation = replace(
            evaluation,
            claims=select_claims((*first.claims, *evaluation.claims), tuple(RULES)),
            perplexity=first.perplexity,
            ratio_to_base=first.ratio_to_base,
            seconds=dict(Counter(first.seconds) + Counter(evaluation.seconds)),
            refused_early=(*first.refused_early, *evaluation.refused_early),
        )
    claims = select_claims(evaluation.claims, CLAIMS)
    verdict = Verdict(
        author=author,
        checkpoint=evaluation.checkpoint,
        gate_version=GATE_VERSION,
        outcome=decide_outcome(claims),
        claims=claims,
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    path = evaluation_record.evaluation_path(Path(version.folder), GATE_VERSION)
    report = path.with_suffix(".md")
    write_report(report, evaluation, verdict, side_by_side)
    setup.registry.record_verdict(verdict)
    # Write the record last, because its readers pair it with the newest verdict.
    evaluation_record.write_evaluation(path, evaluation)
    experiment = ""
    if setup.settings.has_real_langfuse and side_by_side and stage is not FIRST_VERDICT:
        experiment = _send_experiment(setup, verdict, evaluation, side_by_side)
    return JudgedEvaluation(
        evaluation, verdict, report, is_newly_measured=True, experiment=experiment
    )


def _send_experiment(
    setup: JudgingSetup,
    verdict: Verdict,
    evaluation: Evaluation,
    side_by_side: Sequence[AnswerComparison],
) -> str:
    """Send the experiment, and return its address in Langfuse or the reason for the failure.

    The verdict is stored already and stays valid if sending fails.
    """
    try:
        receipt = send_experiment(
            setup.settings,
            verdict,
            side_by_side,
            inputs_hash=evaluation.rests_on,
            advisory_claims=select_claims(evaluation.claims, CLAIMS_ON_REQUEST),
        )
    except TwinError as error:
        setup.log(f"the experiment was not sent to Langfuse: {error}")
        return f"not sent: {error.found}; {error.next_step}"
    location = receipt.url or f"experiment {receipt.experiments['candidate']}"
    setup.log(f"Langfuse has {receipt.item_count} answers and the claims: {location}")
    return location


def _build_spec(
    setup: JudgingSetup, version: ModelVersion, incumbent: ModelVersion | None
) -> EvaluationSpec:
    author, settings, tables = setup.author, setup.settings, setup.tables
    best = find_best_released(setup.registry.versions(author), candidate=version)
    if best is not None and incumbent is not None and best.checkpoint == incumbent.checkpoint:
        best = None  # already compared as the incumbent
    trained_documents: set[str] = set()

    def prepare(model: ModelVersion, name: str) -> EvaluatedModel:
        # the dataset version that the model was trained on is pinned by a tag
        tag: str = read_manifest(Path(model.folder)).dataset["tag"]
        rows = tables.read(
            DATASET, author, columns=["document_id"], where="split = 'train'", version=tag
        )
        trained_documents.update(rows["document_id"])
        weights = find_weights(Path(model.folder), base=model.base, base_gguf=model.base_gguf)
        precision = setup.servers.precision(model)
        return EvaluatedModel(name, model.checkpoint, weights.model, weights.adapter, precision)

    candidate = prepare(version, "candidate")
    compared_incumbent, compared_best = (
        model and prepare(model, f"v{model.version}") for model in (incumbent, best)
    )
    revision = str(read_manifest(Path(version.folder)).base["revision"])
    return EvaluationSpec(
        checkpoint=version.checkpoint,
        candidate=candidate,
        base=EvaluatedModel("base model", revision, Path(version.base)),
        incumbent=compared_incumbent,
        template=version.template,
        dataset=tables.read(DATASET, author),
        dataset_version=tables.data_version(DATASET, author) or "",
        trained_on=frozenset(trained_documents),
        token_budget=settings.evaluation_tokens,
        max_questions=settings.evaluation_questions,
        nli_model=settings.nli_model,
        other_author_count=len(
            find_authors_with_dataset(tables, setup.other_authors, log=setup.log)
        ),
        best=compared_best,
    )


def _build_judging_context(
    setup: JudgingSetup,
    spec: EvaluationSpec,
    serve_base: StartServer,
    stage: GateStage,
) -> JudgingContext:
    """Return the judges and the texts for the measures of a stage.

    The base model answers for the plot of habits, and for the voice judge, which needs more.
    """
    author, tables = setup.author, setup.tables
    has_voice = author_voice.MEASURE in stage.measures
    if stage is FIRST_VERDICT:
        material = build_topic_material(author, select_training_pairs(spec.dataset))
    else:
        material = read_judge_material(
            author,
            tables,
            other_slugs=setup.other_authors,
            base_revision=spec.base.weights_id,
            serve_base=serve_base,
            log=setup.log,
            base_answer_count=BASE_QUESTION_COUNT if has_voice else PLOTTED_BASE_QUESTION_COUNT,
        )
    nli_model, nli_folder = spec.nli_model, setup.settings.weights_dir / "entailment"
    judges = calibrate_judges(
        material,
        tables,
        setup.load_embedder(),
        load_sentence_judge=partial(load_entailment, nli_model, download_folder=nli_folder)
        if nli_model
        else None,
        kinds=(TOPIC, VOICE) if has_voice else (TOPIC,),
        has_people_judge=has_voice,
    )
    return JudgingContext(
        judges=judges,
        writer_samples=merge_by_writer(
            [*material.other_texts.training, *material.other_texts.for_probes]
        ),
        chunk_texts=read_chunk_texts(tables, author),
        base_answers=material.base_answers,
    )
