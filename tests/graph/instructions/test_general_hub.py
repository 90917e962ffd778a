"""A general set by hub id: a small server stands in for the hub, which nobody can reach here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest

from tests.http_server import Request, Response, http_server
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


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The paths that the hub was asked for."""
    from huggingface_hub import constants

    paths: list[str] = []

    def sent(text: str, status: int = 200) -> Response:
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(text.encode()).hexdigest()}"'}
        return Response(text, status, headers)

    def answered(request: Request) -> Response:
        paths.append(request.path)
        api, at = f"/api/datasets/{NAME}", f"/datasets/{NAME}/resolve/{COMMIT}/"
        if request.path.split("?")[0] in {api, f"{api}/revision/v1"}:
            siblings = [{"rfilename": name} for name in FILES]
            return sent(json.dumps({"id": NAME, "sha": COMMIT, "siblings": siblings}))
        if request.path.startswith(at) and request.path.removeprefix(at) in FILES:
            return sent(FILES[request.path.removeprefix(at)])
        return Response({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    with http_server(answered) as url:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(ENDPOINT, constants.ENDPOINT)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield paths


@pytest.mark.parametrize("name", [NAME, f"{NAME}@v1"])
def test_the_training_files_of_a_commit_are_read(
    name: str, asked: list[str], home: Settings
) -> None:
    found = read_general_set(name, home)
    assert {sample.question for sample in found.samples} == {
        "Why is the sky blue?",
        "How many legs has a fly?",
    }
    assert found.source == f"{NAME}@{COMMIT[:12]}"
    fetched = [path for path in asked if "/resolve/" in path]
    assert fetched
    assert all("/train-" in path for path in fetched)
    assert (home.weights_dir / "hub").is_dir()


def test_an_id_that_the_hub_does_not_know_is_named(asked: list[str], home: Settings) -> None:
    with pytest.raises(TwinError, match="made/nothing"):
        read_general_set("made/nothing", home)
    assert asked
