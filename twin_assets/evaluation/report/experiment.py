"""Write an evaluation to Langfuse: its questions as a dataset, its answers as experiments.

Scope: the dataset's items, the runs of candidate and base, and the claims as scores of a run.
Out of scope: the verdict, which does not depend on the experiment; the embedded trace store, which
has no datasets.

    dataset     twin-held-out-<author>: held-out questions with the author's own answers
    experiment  one for the candidate's answers, one for the base model's if all were asked

Items and spans contain post text, as traces do, and ids for finding a post that must be erased
(`twin_resources/erasure/trace_store.py`). The SDK reports rejected spans only in its log, so the
exporter counts them. Server 4.16 refuses the SDK's scores, so they are sent one by one.
Method: https://langfuse.com/docs/evaluation/experiments/experiments-via-sdk
"""
# pyright: strict

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.observability.langfuse.datasets import held_out_dataset_name
from twin_resources.quality.judges.judge import digest

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

    from twin_assets.evaluation.report.evaluation_record import AnswerComparison
    from twin_resources.registry.moves import GateClaim, Verdict
    from twin_resources.settings import Settings

INGESTION_PATH = "/api/public/otel/v1/traces"
TIMEOUT_S = 20


@dataclass(frozen=True)
class SentExperiment:
    """The parts of one evaluation that were sent to Langfuse.

    Attributes:
        item_count: number of questions sent to the dataset.
        experiments: experiment id by writer: `candidate`, `base`.
        url: address of the candidate's experiment; empty if the project is unknown.
    """

    item_count: int
    experiments: Mapping[str, str] = field(default_factory=dict[str, str])
    url: str = ""


def send_experiment(
    settings: Settings,
    verdict: Verdict,
    answers: Sequence[AnswerComparison],
    *,
    inputs_hash: str,
    advisory_claims: Sequence[GateClaim],
) -> SentExperiment:
    """Write one evaluation; writing it again replaces its scores and does not change the dataset.

    Args:
        settings: settings with a configured Langfuse.
        answers: answers to all held-out questions.
        inputs_hash: id of the evaluation; a different id creates new experiments.
        advisory_claims: claims that cannot prevent a release, sent as scores of the run like the
            others.

    Raises:
        TwinError: Langfuse cannot be reached, refuses the data, or accepts only a part.
    """
    from httpx import HTTPError
    from langfuse import Langfuse
    from langfuse.api.core.api_error import ApiError
    from opentelemetry.sdk.trace import TracerProvider

    action = f"write the evaluation of {verdict.checkpoint[:12]} to {settings.langfuse_host}"
    exporter = _build_counting_exporter(settings)
    client = Langfuse(
        public_key=settings.langfuse_public_key,
        secret_key=settings.langfuse_secret_key,
        base_url=settings.langfuse_host.rstrip("/"),
        timeout=TIMEOUT_S,
        tracer_provider=TracerProvider(),  # separates these spans from those of other code
        span_exporter=exporter,
    )
    try:
        sent_experiment = _run_experiments(client, verdict, answers, inputs_hash=inputs_hash)
    except (ApiError, HTTPError, ValueError) as error:  # ValueError: an unexpected response
        raise TwinError(
            action,
            found=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
            next_step="check that Langfuse answers and accepts the keys; the verdict remains valid",
        ) from error
    finally:
        client.shutdown()
    if exporter.rejected_count:
        sent_count = exporter.rejected_count + exporter.accepted_count
        raise TwinError(
            action,
            found=f"{exporter.rejected_count} of {sent_count} spans were not accepted",
            next_step="check Langfuse's log; the verdict remains valid",
        )
    with LangfuseClient.from_settings(settings) as scores_client:
        for claim in (*verdict.claims, *advisory_claims):
            _post_scores(scores_client, claim, experiment=sent_experiment.experiments["candidate"])
    return sent_experiment


def _run_experiments(
    client: Any, verdict: Verdict, answers: Sequence[AnswerComparison], *, inputs_hash: str
) -> SentExperiment:
    name = held_out_dataset_name(verdict.author)
    client.create_dataset(
        name=name, description="Held-out questions with the author's own answers."
    )
    items = [
        client.create_dataset_item(
            dataset_name=name,
            id=digest(verdict.author, answer.sample_id),
            input={"question": answer.question},
            expected_output=answer.author,
            metadata={
                "sample_id": answer.sample_id,
                "document_id": answer.document_id,
                "chunk_id": answer.chunk_id,
                "twin.author": verdict.author,
            },
        )
        for answer in answers
    ]
    outputs = {
        "candidate": {
            item.id: answer.candidate for item, answer in zip(items, answers, strict=True)
        }
    }
    base_texts = {item.id: answer.base for item, answer in zip(items, answers, strict=True)}
    if all(text is not None for text in base_texts.values()):
        outputs["base"] = {item_id: text or "" for item_id, text in base_texts.items()}
    experiments: dict[str, str] = {}
    url = ""
    for writer, texts in outputs.items():
        model = verdict.checkpoint[:12] if writer == "candidate" else "base model"
        result = client.run_experiment(
            name=verdict.gate_version,
            run_name=f"{verdict.gate_version} {model} {inputs_hash[:8]}",
            data=items,
            task=_make_task(texts),
            experiment_id=digest("experiment", verdict.author, writer, inputs_hash),
            metadata={
                "twin.author": verdict.author,
                "checkpoint": verdict.checkpoint,
                "writer": writer,
                "verdict": verdict.outcome,
            },
        )
        if len(result.item_results) != len(items):
            raise TwinError(
                f"write the answers of {model} to Langfuse",
                found=f"{len(result.item_results)} of {len(items)} were recorded",
                next_step="check this run's log; the verdict remains valid",
            )
        experiments[writer] = str(result.experiment_id)
        url = url or str(result.experiment_url or "")
    return SentExperiment(len(items), experiments, url)


def _make_task(texts: Mapping[str, str]) -> Any:
    """Make a run's task, which returns the answers that the gate already has."""

    def task(*, item: Any, **_: Any) -> str:
        return texts[item.id]

    return task


def _post_scores(client: LangfuseClient, claim: GateClaim, *, experiment: str) -> None:
    """Post whether a claim is met, unless it is undecided, and its value if it has one."""
    score_fields: dict[str, Any] = {"experiment_id": experiment, "comment": claim.detail}
    if claim.passed is not None:
        client.post_score(
            claim.name, claim.passed, id=digest(experiment, claim.name, "met"), **score_fields
        )
    if claim.value is not None:
        name = f"{claim.name}.value"
        client.post_score(name, claim.value, id=digest(experiment, name), **score_fields)


def _build_counting_exporter(settings: Settings) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class CountingExporter(SpanExporter):
        """Exporter that counts accepted and rejected spans."""

        def __init__(self, inner: SpanExporter) -> None:
            self._inner = inner
            self.accepted_count = self.rejected_count = 0

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            result = self._inner.export(spans)
            if result is SpanExportResult.SUCCESS:
                self.accepted_count += len(spans)
            else:
                self.rejected_count += len(spans)
            return result

        def shutdown(self) -> None:
            self._inner.shutdown()

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return self._inner.force_flush(timeout_millis)

    keys = f"{settings.langfuse_public_key}:{settings.langfuse_secret_key}"
    return CountingExporter(
        OTLPSpanExporter(
            endpoint=settings.langfuse_host.rstrip("/") + INGESTION_PATH,
            headers={
                "Authorization": "Basic " + base64.b64encode(keys.encode()).decode(),
                "x-langfuse-ingestion-version": "4",
            },
            timeout=TIMEOUT_S,
        )
    )
