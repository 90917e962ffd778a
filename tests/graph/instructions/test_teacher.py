"""A teacher model writes the questions of the dataset; the answers stay the author's words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.graph.instructions.conftest import ADA, Finished
from twin_assets.instructions import building
from twin_resources.embedder.embedder import Embedder
from twin_resources.errors import TwinError
from twin_resources.retrieval.retrieval import Retriever
from twin_resources.settings import load_settings
from twin_resources.tables.tables import Tables


@pytest.fixture
def ready(twelve: Finished, embedder: Embedder) -> Retriever:
    return Retriever(load_settings().tables_base, embedder)


class TeacherServer(BaseHTTPRequestHandler):
    """An OpenAI-compatible teacher that asks about the third word of the passage."""

    asked: list[str] = []  # noqa: RUF012 - shared by the requests of one test

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = body["messages"][-1]["content"]
        type(self).asked.append(content)
        words = content.split("Passage:\n")[1].split()
        said = f'"What happens to the {words[4]} and the {words[7]}, {len(self.asked)} times?"'
        answer = {"role": "assistant", "content": said}
        payload = json.dumps(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [{"index": 0, "message": answer, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def teacher(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    TeacherServer.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), TeacherServer)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    monkeypatch.setenv("OPENAI_API_BASE", f"http://127.0.0.1:{server.server_port}/v1")
    yield "openai/teacher"
    server.shutdown()
    server.server_close()


def test_a_teacher_writes_the_question_and_never_the_answer(
    ready: Retriever, tables: Tables, teacher: str
) -> None:
    by_template = tables.read("instruction_dataset", "ada")
    building.update_dataset(tables, ADA, retriever=ready, teacher_model=teacher)
    taught = tables.read("instruction_dataset", "ada")
    assert taught["answer"].equals(by_template["answer"])
    assert set(taught["instruction_source"]) == {"teacher:openai/teacher"}
    assert all(question.startswith("What happens to the ") for question in taught["question"])
    assert len(TeacherServer.asked) == taught.height

    building.update_dataset(tables, ADA, retriever=ready, teacher_model=teacher)
    assert len(TeacherServer.asked) == taught.height  # what was paid for is not asked again


def test_a_teacher_that_cannot_be_reached_is_named(
    ready: Retriever, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    monkeypatch.setenv("OPENAI_API_BASE", "http://127.0.0.1:9/v1")
    with pytest.raises(TwinError, match="TWIN_TEACHER_MODEL"):
        building.update_dataset(tables, ADA, retriever=ready, teacher_model="openai/teacher")
