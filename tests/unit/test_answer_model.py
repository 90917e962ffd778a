"""Test how names of answer models are resolved, and which errors invalid names cause."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.http_server import Request, Response, http_server
from twin_resources.errors import TwinError
from twin_resources.storage.weights.answer_model import (
    list_model_ids,
    parse_name,
    resolve_name,
    split_stored_name,
)
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


def refusal(name: str, *, key: str = "") -> TwinError:
    """Resolve a name that is refused, and return the error, which must name a next step."""
    with pytest.raises(TwinError) as excinfo:
        resolve_name(name, key=key)
    assert excinfo.value.next_step
    return excinfo.value


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


def test_four_kinds_of_names_are_distinguished(tmp_path: Path) -> None:
    folder, gguf_path = write_chat_folder(tmp_path / "model"), write_gguf(tmp_path / "m.gguf")
    assert resolve_name(str(folder)).kind == "folder"
    assert resolve_name(str(gguf_path)).kind == "gguf"
    assert resolve_name("Qwen/Qwen2.5-7B-Instruct").kind == "hub"
    remote = parse_name("https://models.example/v1/#large/one")
    assert (remote.kind, remote.name) == ("address", "https://models.example/v1#large/one")
    assert split_stored_name(remote.name) == ("https://models.example/v1", "large/one")
    assert split_stored_name(str(folder)) == ("", "")


def test_a_relative_folder_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_chat_folder(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    assert resolve_name("model").name == str((tmp_path / "model").resolve())


@pytest.mark.parametrize("name", ["nowhere", "./no/such", "/no/such.gguf", "a b/c", "x/y.gguf"])
def test_an_unknown_name_is_refused(name: str) -> None:
    error = refusal(name)
    assert "not a folder, a file" in error.found
    assert "https://…/v1" in error.next_step


@pytest.mark.parametrize("name", ["https://me:key@models.example/v1", "https://x.example/v1?k=1"])
def test_an_address_with_a_key_is_refused(name: str) -> None:
    assert "TWIN_ANSWER_MODEL_KEY" in refusal(name).next_step


def test_an_incomplete_folder_is_refused_with_the_missing_file(tmp_path: Path) -> None:
    folder = write_chat_folder(tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    assert "no chat template" in refusal(str(folder)).found
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "no *.safetensors" in refusal(str(folder)).found
    (folder / "config.json").unlink()
    assert "no config.json" in refusal(str(folder)).found


def test_a_file_without_a_chat_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("GGML")
    assert "is not a GGUF file" in refusal(str(tmp_path / "notes.txt")).found
    base_model = write_gguf(tmp_path / "base.gguf", has_template=False)
    assert "no chat template" in refusal(str(base_model)).found


def test_an_address_needs_a_model_id_only_if_it_lists_several() -> None:
    with serve_models("large") as url:
        resolved = resolve_name(url)
        assert (resolved.name, resolved.is_remote) == (f"{url}#large", False)
    with serve_models("large", "small") as url:
        error = refusal(url)
        assert "2 models: large, small" in error.found
        assert f"{url}#large" in error.next_step
        assert resolve_name(f"{url}#small").model == "small"
        assert "it offers large, small" in refusal(f"{url}#medium").found
    with serve_models() as url:
        assert refusal(url).found == "it offers no model"


def test_the_error_for_a_missing_or_wrong_key_names_the_variable() -> None:
    with serve_models("large", key="sk-right") as url:
        assert refusal(url).found == "it returned 401 without a key"
        error = refusal(url, key="sk-wrong")
        assert error.found == "it returned 401 with the key from TWIN_ANSWER_MODEL_KEY"
        assert "sk-wrong" not in str(error)
        assert list_model_ids(url, "sk-right") == ["large"]


def test_an_incompatible_address_is_refused() -> None:
    with serve_models("large") as url:
        root = url.removesuffix("/v1")
        error = refusal(root)
        assert "404" in error.found
        assert url in error.next_step
    with serve_models(body=b"<html>") as url:
        assert "JSONDecodeError" in refusal(url).found
    with serve_models(body=b'{"data": [1]}') as url:
        assert "TypeError" in refusal(url).found
    assert "Connection refused" in refusal(url).found  # the server has stopped


@pytest.mark.parametrize(
    ("url", "is_remote"),
    [
        ("http://127.0.0.1:8000/v1", False),
        ("http://localhost/v1", False),
        ("http://[::1]:80/v1", False),
        ("https://127.0.0.1.models.example/v1", True),
        ("https://localhost.example/v1", True),
        ("http://10.0.0.2/v1", True),
    ],
)
def test_an_address_outside_this_machine_is_remote(url: str, is_remote: bool) -> None:
    assert parse_name(url).is_remote is is_remote
