"""Judging a candidate: measured once, decided by the gate, the verdict stored by its hash.

Belongs here: finding the candidate and what it is compared with, the stored evaluation, the verdict
and the refusal in the registry.
Does not belong here: measuring (`measurement.py`), deciding (`gate.py`), releasing, Dagster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from twin_assets.evaluation.gate import FEWEST_PASSAGES, GATE_VERSION, decide, outcome_of, stated
from twin_assets.evaluation.judged.calibrated_judges import calibrated
from twin_assets.evaluation.kept_values import KeptValues
from twin_assets.evaluation.measurement import measure
from twin_assets.evaluation.question import Beside, Question, Served, Subject
from twin_assets.evaluation.report import evaluation_record
from twin_assets.evaluation.report.evaluation_record import Evaluation, SideBySide
from twin_assets.evaluation.report.experiment import Send
from twin_assets.evaluation.report.markdown import write_report
from twin_assets.evaluation.served.served_model import Serve
from twin_assets.instructions.schema import OF_THE_AUTHOR
from twin_assets.serving.judge_material import chunk_texts, material_of
from twin_assets.training.manifest import read_manifest, read_pointer
from twin_assets.training.published_weights import weights_of
from twin_resources.errors import TwinError
from twin_resources.judging.named import NO_JUDGES, NamedJudges
from twin_resources.judging.sentence_support import SentenceJudge
from twin_resources.judging.texts import merged
from twin_resources.model_fit import parameters_of
from twin_resources.registry.moves import ModelVersion, Verdict, refusal

if TYPE_CHECKING:
    from twin_resources.embedder.embedder import Embedder
    from twin_resources.registry.registry import Registry
    from twin_resources.serving.model_server import ModelServers
    from twin_resources.tables.tables import Tables

DATASET = "instruction_dataset"
ACTOR = "checkpoint_evaluation"


@dataclass(frozen=True)
class Judged:
    """An evaluation with its verdict.

    Attributes:
        measured_now: false when a stored one still held.
        experiment: where a Langfuse shows it, or why it does not; empty: none is configured, or
            nothing was measured now.
    """

    evaluation: Evaluation
    verdict: Verdict
    report: Path
    measured_now: bool
    experiment: str = ""


def judge_candidate(
    author: str,
    *,
    checkpoints: Path,
    token_budget: int,
    tables: Tables,
    registry: Registry,
    servers: ModelServers,
    embedder: Callable[[], Embedder],
    say: Callable[[str], object],
    others: Sequence[str] = (),
    named: NamedJudges = NO_JUDGES,
    questions: int = FEWEST_PASSAGES,
    send: Send | None = None,
) -> Judged:
    """Measure an author's candidate, or take the stored evaluation when nothing has changed.

    The verdict is stored by checkpoint hash; a candidate that did not pass becomes `refused`.

    Args:
        checkpoints: the author's checkpoint folder.
        token_budget: of held-out passages (`Settings.evaluation_tokens`).
        embedder: loads it; only called when something is measured.
        say: progress, a line each.
        others: slugs of the instance's other authors, from whom a voice is told apart.
        named: models that a person named as judges.
        questions: that candidate and base are asked (`Settings.evaluation_questions`).
        send: writes an experiment to a Langfuse (`report/experiment.py`); None: to none.

    Raises:
        TwinError: there is no candidate, no dataset, or the candidate cannot be served.
    """
    version = _candidate(author, checkpoints, registry)
    incumbent = registry.stable(author)
    if incumbent is not None and incumbent.checkpoint == version.checkpoint:
        incumbent = None  # nothing stands between a stable version and itself
    question = _question(
        author, version, incumbent, tables,
        token_budget=token_budget, questions=questions, judge_model=named.language_model,
        nli_model=named.entailment, others=sum(tables.exists(DATASET, slug) for slug in others),
    )  # fmt: skip
    rests_on = question.rests_on(incumbent.checkpoint if incumbent else "")
    path = evaluation_record.evaluation_path(Path(version.folder), GATE_VERSION)
    report = path.with_suffix(".md")
    evaluation = evaluation_record.read_evaluation(path)
    known = registry.verdict(version.checkpoint, GATE_VERSION)
    if evaluation is not None and evaluation.rests_on == rests_on and known is not None:
        say(f"v{version.version} was evaluated on exactly this before: {known.outcome}")
        return Judged(evaluation, known, report, measured_now=False)
    alias, base_gguf = f"{author}/v{version.version}", version.base_gguf or None
    served = Served(
        candidate=lambda: servers.serve(base_gguf, version.adapter_gguf, alias=alias),
        base=lambda: servers.serve(_base_gguf(version), alias=servers.base_alias),
        engine=servers.engine,
    )
    evaluation, shown = measure(
        question,
        rests_on=rests_on,
        served=served,
        kept=KeptValues(tables, author),
        beside=lambda: _beside(
            author,
            question,
            tables,
            embedder(),
            others=others,
            entailment=named.load_entailment if named.entailment else None,
            serve_base=served.base,
            say=say,
        ),
        say=say,
    )
    verdict = _verdict(author, evaluation)
    write_report(report, evaluation, verdict, shown)
    registry.record_verdict(verdict)
    # last: whoever finds the record takes the newest verdict for its own
    evaluation_record.write_evaluation(path, evaluation)
    experiment = _told(send, verdict, evaluation, shown, say) if send and shown else ""
    if verdict.outcome != "passed" and version.state == "candidate":
        # the failed check stops `released_model` in this run, so the refusal is entered here
        reason = refusal(verdict)
        registry.move(author, version.version, "refused", actor=ACTOR, reason=reason)
    return Judged(evaluation, verdict, report, measured_now=True, experiment=experiment)


def _told(
    send: Send,
    verdict: Verdict,
    evaluation: Evaluation,
    shown: Sequence[SideBySide],
    say: Callable[[str], object],
) -> str:
    """Where Langfuse shows it; the verdict is stored already, and stands when it cannot be sent."""
    try:
        sent = send(
            verdict, shown, rests_on=evaluation.rests_on, stated=stated(evaluation.measured)
        )
    except TwinError as error:
        say(f"no experiment in Langfuse: {error}")
        return f"not sent: {error.found}; {error.next_step}"
    where = sent.url or f"experiment {sent.experiments['candidate']}"
    say(f"Langfuse has {sent.items} answers and the claims: {where}")
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


def _question(
    author: str,
    version: ModelVersion,
    incumbent: ModelVersion | None,
    tables: Tables,
    *,
    token_budget: int,
    questions: int,
    judge_model: str,
    nli_model: str,
    others: int,
) -> Question:
    trained_on: set[str] = set()
    for model in (version, incumbent):
        if model is not None:
            trained_on |= _trained_documents(author, model, tables)
    return Question(
        checkpoint=version.checkpoint,
        candidate=_subject("candidate", version),
        base=Subject("base model", _base_revision(version), Path(version.base)),
        incumbent=_subject(f"v{incumbent.version}", incumbent) if incumbent else None,
        template=version.template,
        dataset=tables.read(DATASET, author, where=OF_THE_AUTHOR),
        dataset_version=tables.data_version(DATASET, author) or "",
        trained_on=frozenset(trained_on),
        token_budget=token_budget,
        questions=questions,
        judge_model=judge_model,
        nli_model=nli_model,
        others=others,
    )


def _beside(
    author: str,
    question: Question,
    tables: Tables,
    embedder: Embedder,
    *,
    others: Sequence[str],
    entailment: Callable[[], SentenceJudge] | None,
    serve_base: Serve,
    say: Callable[[str], object],
) -> Beside:
    material = material_of(
        author, tables, others=others, base=question.base.weights, serve_base=serve_base, say=say
    )
    billions = parameters_of(str(question.base.base_folder))
    return Beside(
        judges=calibrated(material, tables, embedder, entailment=entailment),
        hands=merged([*material.others.training, *material.others.planted]),
        chunks=chunk_texts(tables, author),
        base_answers=material.base_answers,
        base_parameters=None if billions is None else round(billions * 1e9),
    )


def _subject(name: str, model: ModelVersion) -> Subject:
    weights = weights_of(Path(model.folder), base=model.base, base_gguf=model.base_gguf)
    return Subject(name, model.checkpoint, weights.model, weights.adapter)


def _base_gguf(model: ModelVersion) -> str | None:
    """The base model's file; a fully trained version's own is not it."""
    return read_manifest(Path(model.folder)).base["gguf"]


def _base_revision(model: ModelVersion) -> str:
    return str(read_manifest(Path(model.folder)).base["revision"])


def _trained_documents(author: str, model: ModelVersion, tables: Tables) -> set[str]:
    """Documents of the very dataset version that a model was trained on, pinned by its tag."""
    tag: str = read_manifest(Path(model.folder)).dataset["tag"]
    trained = tables.read(
        DATASET, author, columns=["document_id"], where="split = 'train'", version=tag
    )
    return set(trained["document_id"])


def _verdict(author: str, evaluation: Evaluation) -> Verdict:
    claims = decide(evaluation.measured)
    return Verdict(
        author=author,
        checkpoint=evaluation.checkpoint,
        gate_version=GATE_VERSION,
        outcome=outcome_of(claims),
        claims=claims,
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
