"""Names of answer models: what they name, and why one cannot answer, before anything is done."""

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
def models_at(
    *ids: str, key: str = "", status: int = 200, body: bytes | None = None
) -> Iterator[str]:
    """A server that lists models and nothing else, as OpenAI's interface has it."""

    def listed(request: Request) -> Response:
        known = request.headers.get("authorization") == f"Bearer {key}"
        code = status if not key or known else 401
        told = {"object": "list", "data": [{"id": name} for name in ids]}
        return Response(
            told if body is None else body, code if request.path == "/v1/models" else 404
        )

    with http_server(listed) as url:
        yield f"{url}/v1"


def refused(name: str, *, key: str = "") -> TwinError:
    with pytest.raises(TwinError) as told:
        resolve_name(name, key=key)
    assert told.value.next_step
    return told.value


def chat_folder(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


def gguf(path: Path, *, template: bool = True) -> Path:
    head = b"GGUF" + struct.pack("<I", 3) + bytes(1024 * 1024 - 9)  # over the edge of two reads
    path.write_bytes(head + (CHAT_TEMPLATE_KEY if template else b"tokenizer.model") + bytes(64))
    return path


def test_four_kinds_are_told_apart(tmp_path: Path) -> None:
    folder, file = chat_folder(tmp_path / "model"), gguf(tmp_path / "m.gguf")
    assert resolve_name(str(folder)).kind == "folder"
    assert resolve_name(str(file)).kind == "gguf"
    assert resolve_name("Qwen/Qwen2.5-7B-Instruct").kind == "hub"
    named = parse_name("https://models.example/v1/#large/one")
    assert (named.kind, named.name) == ("address", "https://models.example/v1#large/one")
    assert split_stored_name(named.name) == ("https://models.example/v1", "large/one")
    assert split_stored_name(str(folder)) == ("", "")


def test_a_folder_named_from_elsewhere_is_kept_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat_folder(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    assert resolve_name("model").name == str((tmp_path / "model").resolve())


@pytest.mark.parametrize("name", ["nowhere", "./no/such", "/no/such.gguf", "a b/c", "x/y.gguf"])
def test_what_is_nothing_is_refused(name: str) -> None:
    error = refused(name)
    assert "neither a folder, a file" in error.found
    assert "https://…/v1" in error.next_step


@pytest.mark.parametrize("name", ["https://me:key@models.example/v1", "https://x.example/v1?k=1"])
def test_a_key_is_not_kept_with_the_address(name: str) -> None:
    assert "TWIN_ANSWER_MODEL_KEY" in refused(name).next_step


def test_a_folder_without_a_chat_model_says_what_is_missing(tmp_path: Path) -> None:
    folder = chat_folder(tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    assert "no chat template" in refused(str(folder)).found
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "no *.safetensors" in refused(str(folder)).found
    (folder / "config.json").unlink()
    assert "no config.json" in refused(str(folder)).found


def test_a_file_that_llama_cpp_could_not_chat_with_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("GGML")
    assert "is not a GGUF file" in refused(str(tmp_path / "notes.txt")).found
    without = gguf(tmp_path / "base.gguf", template=False)
    assert "no chat template" in refused(str(without)).found


def test_an_address_with_one_model_needs_no_id_and_one_with_two_does() -> None:
    with models_at("large") as url:
        named = resolve_name(url)
        assert (named.name, named.is_remote) == (f"{url}#large", False)
    with models_at("large", "small") as url:
        error = refused(url)
        assert "2 models: large, small" in error.found
        assert f"{url}#large" in error.next_step
        assert resolve_name(f"{url}#small").model == "small"
        assert "it offers large, small" in refused(f"{url}#medium").found
    with models_at() as url:
        assert refused(url).found == "it offers no model"


def test_a_missing_and_a_wrong_key_name_the_variable() -> None:
    with models_at("large", key="sk-right") as url:
        assert refused(url).found == "it answers 401 without a key"
        wrong = refused(url, key="sk-wrong")
        assert wrong.found == "it answers 401 with the key from TWIN_ANSWER_MODEL_KEY"
        assert "sk-wrong" not in str(wrong)
        assert list_model_ids(url, "sk-right") == ["large"]


def test_what_is_no_openai_compatible_address_says_so() -> None:
    with models_at("large") as url:
        root = url.removesuffix("/v1")
        error = refused(root)
        assert "404" in error.found
        assert url in error.next_step
    with models_at(body=b"<html>") as url:
        assert "JSONDecodeError" in refused(url).found
    with models_at(body=b'{"data": [1]}') as url:
        assert "TypeError" in refused(url).found
    assert "Connection refused" in refused(url).found  # nobody listens there any more


@pytest.mark.parametrize(
    ("url", "far"),
    [
        ("http://127.0.0.1:8000/v1", False),
        ("http://localhost/v1", False),
        ("http://[::1]:80/v1", False),
        ("https://127.0.0.1.models.example/v1", True),
        ("https://localhost.example/v1", True),
        ("http://10.0.0.2/v1", True),
    ],
)
def test_what_leaves_this_machine_is_known(url: str, far: bool) -> None:
    assert parse_name(url).is_remote is far
