"""A general set by hub id: a small server stands in for the hub, which nobody can reach here."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from twin_assets.instructions.general_set import read_general_set
from twin_resources.errors import TwinError
from twin_resources.settings import Settings

ENDPOINT = "https://huggingface.co"
COMMIT = "3f" * 20
NAME = "made/chats"
FILES = {
    "data/train-1.jsonl": '{"prompt": "Why is the sky blue?", "completion": "Air scatters it."}',
    "data/train-2.jsonl": '{"prompt": "How many legs has a fly?", "completion": "Six."}',
    "data/test.jsonl": '{"prompt": "Is this for training?", "completion": "It is not."}',
    "README.md": "no sample",
}


class Hub(BaseHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012 - shared by the requests of one test

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        self.asked.append(self.path)
        api, at = f"/api/datasets/{NAME}", f"/datasets/{NAME}/resolve/{COMMIT}/"
        if self.path.split("?")[0] in {api, f"{api}/revision/v1"}:
            siblings = [{"rfilename": name} for name in FILES]
            self.send(200, json.dumps({"id": NAME, "sha": COMMIT, "siblings": siblings}), body=body)
        elif self.path.startswith(at) and self.path.removeprefix(at) in FILES:
            self.send(200, FILES[self.path.removeprefix(at)], body=body)
        else:
            self.send(404, json.dumps({"error": "Repository not found"}), body=body)

    def send(self, status: int, text: str, *, body: bool) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    from huggingface_hub import constants

    Hub.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(ENDPOINT, constants.ENDPOINT)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield Hub
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", [NAME, f"{NAME}@v1"])
def test_the_training_files_of_a_commit_are_read(name: str, hub: type[Hub], home: Settings) -> None:
    found = read_general_set(name, home)
    assert {sample.question for sample in found.samples} == {
        "Why is the sky blue?",
        "How many legs has a fly?",
    }
    assert found.source == f"{NAME}@{COMMIT[:12]}"
    fetched = [path for path in hub.asked if "/resolve/" in path]
    assert fetched
    assert all("/train-" in path for path in fetched)
    assert (home.weights_dir / "hub").is_dir()


def test_an_id_that_the_hub_does_not_know_is_named(hub: type[Hub], home: Settings) -> None:
    with pytest.raises(TwinError, match="made/nothing"):
        read_general_set("made/nothing", home)
    assert hub.asked
