"""Test how names of answer models are read, and which errors invalid names cause."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.http_server import Request, Response, http_server
from twin_resources.errors import TwinError
from twin_resources.models.serving.model_server import find_external_server
from twin_resources.settings import Settings
from twin_resources.storage.weights.answer_model import is_remote, parse_name, split_stored_name
from twin_resources.storage.weights.chat_model import CHAT_TEMPLATE_KEY


@contextmanager
def serve_models(
    *ids: str, key: str = "", status: int = 200, body: bytes | None = None
) -> Iterator[str]:
    """Serve only a list of models, in OpenAI's format, and yield the URL, which ends in `/v1`."""

    def respond(request: Request) -> Response:
        is_authorized = request.headers.get("authorization") == f"Bearer {key}"
        code = status if not key or is_authorized else 401
        listing = {"object": "list", "data": [{"id": name} for name in ids]}
        return Response(
            listing if body is None else body, code if request.path == "/v1/models" else 404
        )

    with http_server(respond) as url:
        yield f"{url}/v1"


def write_chat_folder(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


def write_gguf(path: Path, *, has_template: bool = True) -> Path:
    head = b"GGUF" + struct.pack("<I", 3) + bytes(1024 * 1024 - 9)  # the key spans two reads
    path.write_bytes(head + (CHAT_TEMPLATE_KEY if has_template else b"tokenizer.model") + bytes(64))
    return path


def test_paths_become_absolute_and_an_address_is_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, gguf = write_chat_folder(tmp_path / "model"), write_gguf(tmp_path / "m.gguf")
    assert (parse_name("model"), parse_name("m.gguf")) == (str(folder), str(gguf))
    assert parse_name("Qwen/Qwen2.5-7B-Instruct") == "Qwen/Qwen2.5-7B-Instruct"
    remote = parse_name("https://models.example/v1/#large/one")
    assert remote == "https://models.example/v1#large/one"
    assert split_stored_name(remote) == ("https://models.example/v1", "large/one")
    assert split_stored_name(str(folder)) == ("", "")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, "not a folder, a file") for name in ("nowhere", "./no/such", "a b/c", "x/y.gguf")),
        ("https://me:key@models.example/v1", "set its key in TWIN_ANSWER_MODEL_KEY"),
        ("https://x.example/v1?k=1", "set its key in TWIN_ANSWER_MODEL_KEY"),
        ("notes.txt", "is not a GGUF file"),
        ("base.gguf", "no chat template"),
        ("no-config", "no config.json"),
        ("no-weights", r"no \*\.safetensors"),
        ("no-template", "no chat template"),
    ],
)
def test_what_is_no_chat_model_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("GGML")
    write_gguf(tmp_path / "base.gguf", has_template=False)
    for folder, file in (
        ("no-config", "config.json"),
        ("no-weights", "model.safetensors"),
        ("no-template", "chat_template.jinja"),
    ):
        (write_chat_folder(tmp_path / folder) / file).unlink()
    with pytest.raises(TwinError, match=expected):
        parse_name(name)


@pytest.mark.parametrize(
    ("ids", "suffix", "options", "expected"),
    [
        (["large"], "", {}, "large"),
        (["large", "small"], "#small", {}, "small"),
        (["large"], "", {"key": "sk-right"}, "large"),
        (["large", "small"], "", {}, "it offers large, small. Next: name one of its models: "),
        (["large", "small"], "#medium", {}, "it offers large, small"),
        ([], "", {}, "it offers no model"),
        (["large"], "", {"key": "sk-other"}, "401 .*export TWIN_ANSWER_MODEL_KEY with a key"),
        (["large"], "/no", {}, "404 .*up to and including /v1"),
        ([], "", {"body": b"<html>"}, "JSONDecodeError"),
        ([], "", {"body": b'{"data": [1]}'}, "Error"),
    ],
)
def test_an_address_answers_for_the_one_model_that_it_offers_or_names(
    home: Settings, ids: list[str], suffix: str, options: dict[str, Any], expected: str
) -> None:
    settings = home.model_copy(update={"answer_model_key": "sk-right"})
    with serve_models(*ids, **options) as url:
        if expected in ids:
            server = find_external_server(settings, url + suffix)
            assert (server.url, server.alias, server.key) == (url, expected, "sk-right")
            return
        with pytest.raises(TwinError, match=expected) as error:
            find_external_server(settings, url + suffix)
    assert "sk-right" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000/v1", False),
        ("http://localhost/v1", False),
        ("http://[::1]:80/v1", False),
        ("https://127.0.0.1.models.example/v1", True),
        ("https://localhost.example/v1", True),
        ("http://10.0.0.2/v1", True),
    ],
)
def test_an_address_outside_this_machine_is_remote(url: str, expected: bool) -> None:
    assert is_remote(url) is expected
