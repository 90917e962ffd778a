"""An evaluation as a Langfuse experiment: the real SDK against recorded answers over HTTP.

No Langfuse runs here. The server gives what a Langfuse 4.16.0 was recorded to give, for the names
and ids that it is sent, and decodes the spans that the SDK exports.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.unit.evaluation.report.test_evaluation_record import EVALUATION
from tests.unit.evaluation.test_gate import GOOD
from twin_assets.evaluation.gate import GATE_VERSION, decide, outcome_of, stated
from twin_assets.evaluation.judgement import _told
from twin_assets.evaluation.report.evaluation_record import SideBySide
from twin_assets.evaluation.report.experiment import SentExperiment, send, sender
from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.datasets import held_out_dataset
from twin_resources.observability.trace_store.otlp import OtlpSpan, read_export
from twin_resources.registry.moves import Verdict
from twin_resources.settings import Settings

CLAIMS = decide(GOOD)
VERDICT = Verdict("jane", "c" * 64, GATE_VERSION, outcome_of(CLAIMS), CLAIMS, "now")
ANSWERS = [
    SideBySide(
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


class Langfuse(ThreadingHTTPServer):
    """What it was sent; `refuses`: the path of requests that it answers with 500."""

    def __init__(self, recorded: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.recorded = recorded
        self.refuses = ""
        self.datasets: list[dict[str, Any]] = []
        self.items: list[dict[str, Any]] = []
        self.scores: list[dict[str, Any]] = []
        self.spans: list[OtlpSpan] = []

    def answer(self, name: str) -> dict[str, Any]:
        return json.loads((self.recorded / f"{name}.json").read_text())["response"]

    def settings(self, home: Settings) -> Settings:
        return home.model_copy(
            update={
                "langfuse_host": f"http://127.0.0.1:{self.server_port}",
                # the SDK keeps one client a key
                "langfuse_public_key": f"pk-{self.server_port}",
                "langfuse_secret_key": "sk",
            }
        )


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Langfuse)
        assert self.path == "/api/public/projects"
        self._say(self.server.answer("get-projects"))

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Langfuse)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Authorization"].startswith("Basic ")
        if server.refuses and server.refuses in self.path:
            self._say({"message": "out of order"}, status=500)
        elif self.path == "/api/public/otel/v1/traces":
            server.spans += read_export(
                body,
                content_type=self.headers["Content-Type"],
                content_encoding=self.headers.get("Content-Encoding", ""),
            )
            self._say({})
        elif self.path == "/api/public/v2/datasets":
            server.datasets.append(json.loads(body))
            self._say(server.answer("post-dataset") | given(server.datasets[-1]))
        elif self.path == "/api/public/dataset-items":
            server.items.append(json.loads(body))
            self._say(server.answer("post-dataset-item") | given(server.items[-1]))
        else:
            assert self.path == "/api/public/scores"
            posted = json.loads(body)
            assert isinstance(posted, dict)  # an array is refused by 4.16.0
            server.scores.append(posted)
            self._say({"id": posted["id"]})

    def _say(self, document: dict[str, Any], *, status: int = 200) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def given(posted: dict[str, Any]) -> dict[str, Any]:
    """What a request says; the SDK sends null for what it leaves out."""
    return {name: value for name, value in posted.items() if value is not None}


@pytest.fixture
def langfuse(shared_data: Path) -> Iterator[Langfuse]:
    server = Langfuse(shared_data / "langfuse-golden")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def sent_to(
    langfuse: Langfuse, home: Settings, answers: list[SideBySide] = ANSWERS
) -> SentExperiment:
    return send(langfuse.settings(home), VERDICT, answers, rests_on="r" * 64, stated=stated(GOOD))


def test_questions_are_a_dataset_and_each_writers_answers_an_experiment_on_it(
    langfuse: Langfuse, home: Settings
) -> None:
    sent = sent_to(langfuse, home)

    assert [one["name"] for one in langfuse.datasets] == [held_out_dataset("jane")]
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
        str(one.attributes["langfuse.experiment.item.id"]): str(
            one.attributes["langfuse.observation.metadata.document_id"]
        )
        for one in spans
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
    assert met == {claim.name: 1 for claim in (*CLAIMS, *stated(GOOD))}
    numbers = {one["name"]: one["value"] for one in first if one.get("dataType") != "BOOLEAN"}
    assert numbers["beats_base_model.value"] == pytest.approx(0.68)
    assert [one["id"] for one in first] == [one["id"] for one in langfuse.scores]
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
        ("otel", "spans were not taken"),
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

    with pytest.raises(TwinError, match="verdict stands without"):
        send(away, VERDICT, ANSWERS, rests_on="r" * 64)


def test_without_a_langfuse_nothing_is_sent(home: Settings, langfuse: Langfuse) -> None:
    assert sender(home) is None
    assert sender(langfuse.settings(home)) is not None


def test_the_verdict_stands_and_the_failure_is_said() -> None:
    said: list[str] = []

    def away(*_: object, **__: object) -> SentExperiment:
        raise TwinError("write it", found="nobody there", next_step="see whether it answers")

    told = _told(away, VERDICT, EVALUATION, ANSWERS, said.append)

    assert told == "not sent: nobody there; see whether it answers"
    assert "nobody there" in said[0]


def test_where_it_is_shown_is_said() -> None:
    asked: dict[str, Any] = {}

    def sent(verdict: Verdict, answers: object, **given: Any) -> SentExperiment:
        asked.update(given)
        return SentExperiment("d", 5, {"candidate": "e1"}, "http://langfuse.test/experiments/e1")

    assert _told(sent, VERDICT, EVALUATION, ANSWERS, lambda _line: None).endswith("/e1")
    assert asked == {"rests_on": EVALUATION.rests_on, "stated": stated(GOOD)}
