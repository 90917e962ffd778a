"""An evaluation as a Langfuse experiment: the real SDK against recorded answers over HTTP.

No Langfuse runs here. The server gives what a Langfuse 4.16.0 was recorded to give, for the names
and ids that it is sent, and decodes the spans that the SDK exports.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.http_server import Request, Response, http_server
from tests.unit.evaluation.test_gate import GOOD
from twin_assets.evaluation.gate import GATE_VERSION, advisory_claims, decide, decide_outcome
from twin_assets.evaluation.report.evaluation_record import AnswerComparison
from twin_assets.evaluation.report.experiment import SentExperiment, send_experiment
from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.datasets import held_out_dataset_name
from twin_resources.observability.trace_store.otlp import OtlpSpan, read_export
from twin_resources.registry.moves import Verdict
from twin_resources.settings import Settings

CLAIMS = decide(GOOD)
VERDICT = Verdict("jane", "c" * 64, GATE_VERSION, decide_outcome(CLAIMS), CLAIMS, "now")
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


class Langfuse:
    """What it was sent; `refuses`: the path of requests that it answers with 500."""

    def __init__(self, recorded: Path) -> None:
        self.recorded = recorded
        self.address = self.refuses = ""
        self.datasets: list[dict[str, Any]] = []
        self.items: list[dict[str, Any]] = []
        self.scores: list[dict[str, Any]] = []
        self.spans: list[OtlpSpan] = []

    def recording(self, name: str) -> dict[str, Any]:
        return json.loads((self.recorded / f"{name}.json").read_text())["response"]

    def settings(self, home: Settings) -> Settings:
        return home.model_copy(
            update={
                "langfuse_host": self.address,
                # the SDK keeps one client a key
                "langfuse_public_key": f"pk-{self.address}",
                "langfuse_secret_key": "sk",
            }
        )

    def answer(self, request: Request) -> Response:
        if request.method == "GET":
            assert request.path == "/api/public/projects"
            return Response(self.recording("get-projects"))
        assert request.headers["authorization"].startswith("Basic ")
        if self.refuses and self.refuses in request.path:
            return Response({"message": "out of order"}, 500)
        if request.path == "/api/public/otel/v1/traces":
            self.spans += read_export(
                request.body,
                content_type=request.headers["content-type"],
                content_encoding=request.headers.get("content-encoding", ""),
            )
            return Response({})
        posted = request.document
        if request.path == "/api/public/v2/datasets":
            self.datasets.append(posted)
            return Response(self.recording("post-dataset") | given(posted))
        if request.path == "/api/public/dataset-items":
            self.items.append(posted)
            return Response(self.recording("post-dataset-item") | given(posted))
        assert request.path == "/api/public/scores"
        assert isinstance(posted, dict)  # an array is refused by 4.16.0
        self.scores.append(posted)
        return Response({"id": posted["id"]})


def given(posted: dict[str, Any]) -> dict[str, Any]:
    """What a request says; the SDK sends null for what it leaves out."""
    return {name: value for name, value in posted.items() if value is not None}


@pytest.fixture
def langfuse(shared_data: Path) -> Iterator[Langfuse]:
    made = Langfuse(shared_data / "langfuse-golden")
    with http_server(made.answer) as made.address:
        yield made


def sent_to(
    langfuse: Langfuse, home: Settings, answers: list[AnswerComparison] = ANSWERS
) -> SentExperiment:
    return send_experiment(
        langfuse.settings(home),
        VERDICT,
        answers,
        inputs_hash="r" * 64,
        advisory_claims=advisory_claims(GOOD),
    )


def test_questions_are_a_dataset_and_each_writers_answers_an_experiment_on_it(
    langfuse: Langfuse, home: Settings
) -> None:
    sent = sent_to(langfuse, home)

    assert [dataset["name"] for dataset in langfuse.datasets] == [held_out_dataset_name("jane")]
    assert [one["input"]["question"] for one in langfuse.items] == [a.question for a in ANSWERS]
    assert [one["expectedOutput"] for one in langfuse.items] == [a.author for a in ANSWERS]
    assert [one["metadata"]["document_id"] for one in langfuse.items] == [
        a.document_id for a in ANSWERS
    ]
    ids = [one["id"] for one in langfuse.items]
    assert len(set(ids)) == len(ANSWERS)

    assert set(sent.experiments) == {"candidate", "base"}
    assert sent.url.endswith(sent.experiments["candidate"])
    for writer, texts in (
        ("candidate", [one.candidate for one in ANSWERS]),
        ("base", [one.base for one in ANSWERS]),
    ):
        spans = [
            span
            for span in langfuse.spans
            if span.attributes.get("langfuse.experiment.id") == sent.experiments[writer]
            and span.name == "experiment-item-run"
        ]
        said = {
            str(span.attributes["langfuse.experiment.item.id"]): str(
                span.attributes["langfuse.observation.output"]
            )
            for span in spans
        }
        assert said == dict(zip(ids, texts, strict=True))
        # by which a forgotten post is found there
        assert all(f"d{ids.index(item)}" in told for item, told in documents_of(spans).items())


def documents_of(spans: list[OtlpSpan]) -> dict[str, str]:
    """What each item's span says of the document, by item."""
    return {
        str(span.attributes["langfuse.experiment.item.id"]): str(
            span.attributes["langfuse.observation.metadata.document_id"]
        )
        for span in spans
    }


def test_claims_are_scores_of_the_candidates_run_and_replace_themselves(
    langfuse: Langfuse, home: Settings
) -> None:
    sent = sent_to(langfuse, home)
    first = list(langfuse.scores)
    langfuse.scores.clear()
    sent_to(langfuse, home)

    assert {one["datasetRunId"] for one in first} == {sent.experiments["candidate"]}
    met = {one["name"]: one["value"] for one in first if one.get("dataType") == "BOOLEAN"}
    assert met == {claim.name: 1 for claim in (*CLAIMS, *advisory_claims(GOOD))}
    numbers = {one["name"]: one["value"] for one in first if one.get("dataType") != "BOOLEAN"}
    assert numbers["beats_base_model.value"] == pytest.approx(0.68)
    assert [one["id"] for one in first] == [score["id"] for score in langfuse.scores]
    assert len({one["id"] for one in first}) == len(first)


def test_answers_of_a_base_that_was_not_asked_again_are_no_experiment(
    langfuse: Langfuse, home: Settings
) -> None:
    some = [replace(one, base=None) if one.sample_id == "s3" else one for one in ANSWERS]

    assert set(sent_to(langfuse, home, some).experiments) == {"candidate"}


@pytest.mark.parametrize(
    ("refuses", "said"),
    [
        ("datasets", "ServiceUnavailable|ApiError|500|out of order"),
        ("dataset-items", "ServiceUnavailable|ApiError|500|out of order"),
        ("otel", "spans were not accepted"),
        ("scores", "HTTP 500"),
    ],
)
def test_what_langfuse_refuses_is_said(
    langfuse: Langfuse, home: Settings, refuses: str, said: str
) -> None:
    langfuse.refuses = refuses

    with pytest.raises(TwinError, match=said):
        sent_to(langfuse, home)


def test_a_langfuse_that_is_away_is_said(langfuse: Langfuse, home: Settings) -> None:
    away = langfuse.settings(home).model_copy(update={"langfuse_host": "http://127.0.0.1:9"})

    with pytest.raises(TwinError, match="verdict remains valid"):
        send_experiment(away, VERDICT, ANSWERS, inputs_hash="r" * 64, advisory_claims=())
