"""Test sending an evaluation to Langfuse as an experiment, with the real SDK over HTTP.

No Langfuse runs here. A server returns recorded responses of Langfuse 4.16.0, with the names
and ids of the request, and decodes the spans that the SDK exports.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.http_server import Request, Response, http_server
from tests.unit.evaluation.test_gate import PASSING_CLAIMS
from twin_assets.evaluation.gate import (
    CLAIMS,
    CLAIMS_ON_REQUEST,
    GATE_VERSION,
    decide_outcome,
    select_claims,
)
from twin_assets.evaluation.report.evaluation_record import AnswerComparison
from twin_assets.evaluation.report.experiment import SentExperiment, send_experiment
from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.datasets import held_out_dataset_name
from twin_resources.observability.trace_store.otlp import OtlpSpan, read_export
from twin_resources.registry.moves import Verdict
from twin_resources.settings import Settings

DECIDED = select_claims(PASSING_CLAIMS, CLAIMS)
VERDICT = Verdict("jane", "c" * 64, GATE_VERSION, decide_outcome(DECIDED), DECIDED, "now")
ANSWERS = [
    AnswerComparison(
        sample_id=f"s{number}",
        document_id=f"d{number}",
        chunk_id=f"c{number}",
        question=f"Why brass, {number}?",
        author=f"It wears well, {number}.",
        candidate=f"Because it wears, {number}.",
        base=f"Certainly! {number}",
    )
    for number in range(5)
]


class LangfuseServer:
    """A server that records requests and returns 500 for paths that contain `refused_path`."""

    def __init__(self, recordings: Path) -> None:
        self.recordings = recordings
        self.address = self.refused_path = ""
        self.datasets: list[dict[str, Any]] = []
        self.items: list[dict[str, Any]] = []
        self.scores: list[dict[str, Any]] = []
        self.spans: list[OtlpSpan] = []

    def recording(self, name: str) -> dict[str, Any]:
        return json.loads((self.recordings / f"{name}.json").read_text())["response"]

    def settings(self, home: Settings) -> Settings:
        return home.model_copy(
            update={
                "langfuse_host": self.address,
                # The SDK keeps one client for each key.
                "langfuse_public_key": f"pk-{self.address}",
                "langfuse_secret_key": "sk",
            }
        )

    def respond(self, request: Request) -> Response:
        if request.method == "GET":
            assert request.path == "/api/public/projects"
            return Response(self.recording("get-projects"))
        assert request.headers["authorization"].startswith("Basic ")
        if self.refused_path and self.refused_path in request.path:
            return Response({"message": "out of order"}, 500)
        if request.path == "/api/public/otel/v1/traces":
            self.spans += read_export(
                request.body,
                content_type=request.headers["content-type"],
                content_encoding=request.headers.get("content-encoding", ""),
            )
            return Response({})
        body = request.document
        if request.path == "/api/public/v2/datasets":
            self.datasets.append(body)
            return Response(self.recording("post-dataset") | omit_nulls(body))
        if request.path == "/api/public/dataset-items":
            self.items.append(body)
            return Response(self.recording("post-dataset-item") | omit_nulls(body))
        assert request.path == "/api/public/scores"
        assert isinstance(body, dict)  # 4.16.0 refuses an array
        self.scores.append(body)
        return Response({"id": body["id"]})


def omit_nulls(body: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a request without nulls, which the SDK sends for omitted values."""
    return {name: value for name, value in body.items() if value is not None}


@pytest.fixture
def langfuse(shared_data: Path) -> Iterator[LangfuseServer]:
    server = LangfuseServer(shared_data / "langfuse-golden")
    with http_server(server.respond) as server.address:
        yield server


def send(
    langfuse: LangfuseServer, home: Settings, answers: list[AnswerComparison] = ANSWERS
) -> SentExperiment:
    return send_experiment(
        langfuse.settings(home),
        VERDICT,
        answers,
        inputs_hash="r" * 64,
        advisory_claims=select_claims(PASSING_CLAIMS, CLAIMS_ON_REQUEST),
    )


def test_questions_become_a_dataset_and_each_writers_answers_an_experiment(
    langfuse: LangfuseServer, home: Settings
) -> None:
    experiment = send(langfuse, home)

    assert [dataset["name"] for dataset in langfuse.datasets] == [held_out_dataset_name("jane")]
    assert [item["input"]["question"] for item in langfuse.items] == [a.question for a in ANSWERS]
    assert [item["expectedOutput"] for item in langfuse.items] == [a.author for a in ANSWERS]
    assert [item["metadata"]["document_id"] for item in langfuse.items] == [
        a.document_id for a in ANSWERS
    ]
    ids = [item["id"] for item in langfuse.items]
    assert len(set(ids)) == len(ANSWERS)

    assert set(experiment.experiments) == {"candidate", "base"}
    assert experiment.url.endswith(experiment.experiments["candidate"])
    for writer, texts in (
        ("candidate", [answer.candidate for answer in ANSWERS]),
        ("base", [answer.base for answer in ANSWERS]),
    ):
        spans = [
            span
            for span in langfuse.spans
            if span.attributes.get("langfuse.experiment.id") == experiment.experiments[writer]
            and span.name == "experiment-item-run"
        ]
        outputs = {
            str(span.attributes["langfuse.experiment.item.id"]): str(
                span.attributes["langfuse.observation.output"]
            )
            for span in spans
        }
        assert outputs == dict(zip(ids, texts, strict=True))
        # Erasure finds the answers of a forgotten post by these document ids.
        assert all(f"d{ids.index(item)}" in name for item, name in document_ids(spans).items())


def document_ids(spans: list[OtlpSpan]) -> dict[str, str]:
    """Map each item id to the document id in the item's span."""
    return {
        str(span.attributes["langfuse.experiment.item.id"]): str(
            span.attributes["langfuse.observation.metadata.document_id"]
        )
        for span in spans
    }


def test_claims_become_scores_and_a_second_upload_replaces_them(
    langfuse: LangfuseServer, home: Settings
) -> None:
    experiment = send(langfuse, home)
    first = list(langfuse.scores)
    langfuse.scores.clear()
    send(langfuse, home)

    assert {score["datasetRunId"] for score in first} == {experiment.experiments["candidate"]}
    passed = {item["name"]: item["value"] for item in first if item.get("dataType") == "BOOLEAN"}
    assert passed == {claim.name: 1 for claim in PASSING_CLAIMS}
    numbers = {item["name"]: item["value"] for item in first if item.get("dataType") != "BOOLEAN"}
    assert numbers["beats_base_model.value"] == pytest.approx(0.68)
    assert [score["id"] for score in first] == [score["id"] for score in langfuse.scores]
    assert len({score["id"] for score in first}) == len(first)


def test_base_answers_with_a_gap_are_not_sent(langfuse: LangfuseServer, home: Settings) -> None:
    incomplete_answers = [
        replace(answer, base=None) if answer.sample_id == "s3" else answer for answer in ANSWERS
    ]

    assert set(send(langfuse, home, incomplete_answers).experiments) == {"candidate"}


@pytest.mark.parametrize(
    ("refused_path", "expected"),
    [
        ("datasets", "ServiceUnavailable|ApiError|500|out of order"),
        ("dataset-items", "ServiceUnavailable|ApiError|500|out of order"),
        ("otel", "spans were not accepted"),
        ("scores", "HTTP 500"),
    ],
)
def test_a_refused_request_is_an_error(
    langfuse: LangfuseServer, home: Settings, refused_path: str, expected: str
) -> None:
    langfuse.refused_path = refused_path

    with pytest.raises(TwinError, match=expected):
        send(langfuse, home)


def test_an_unreachable_langfuse_is_an_error(langfuse: LangfuseServer, home: Settings) -> None:
    unreachable = langfuse.settings(home).model_copy(update={"langfuse_host": "http://127.0.0.1:9"})

    with pytest.raises(TwinError, match="verdict remains valid"):
        send_experiment(unreachable, VERDICT, ANSWERS, inputs_hash="r" * 64, advisory_claims=())
