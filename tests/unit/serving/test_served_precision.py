"""Test the precision of served weights and its limits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.model_versions import build_version
from tests.unit.evaluation.served.test_parity import ConstantReference
from tests.unit.test_answer_model import serve_models
from twin_assets.evaluation.measures import served_parity
from twin_assets.evaluation.served.parity import Parity, compare
from twin_resources.models.serving.model_server import ModelServers, remote_engine_name
from twin_resources.models.serving.served_model import ServedAnswer, _count_aligned_tokens
from twin_resources.models.serving.served_precision import (
    external_precision,
    local_engine_name,
    parse_precision,
    precision_limits,
)
from twin_resources.registry.moves import GateClaim, ModelVersion
from twin_resources.settings import Settings
from twin_resources.storage.weights import chat_model
from twin_resources.storage.weights.chat_model import read_gguf_quantization


def write_gguf(path: Path, file_type: int | None, *, word_count: int = 3) -> Path:
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_token_list([f"word {index}" for index in range(word_count)])
    if file_type is not None:
        writer.add_file_type(file_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def test_the_precision_is_read_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_gguf_quantization(write_gguf(tmp_path / "a", 1)) == "f16"
    assert read_gguf_quantization(write_gguf(tmp_path / "b", 7)) == "q8_0"
    assert read_gguf_quantization(write_gguf(tmp_path / "c", 15)) == "q4_k_m"
    assert read_gguf_quantization(write_gguf(tmp_path / "d", 99)) == "file type 99"
    assert read_gguf_quantization(write_gguf(tmp_path / "e", None)) == ""
    monkeypatch.setattr(chat_model, "BLOCK_BYTES", 64)  # the field crosses a block boundary
    for count in range(10, 30):
        path = write_gguf(tmp_path / "f", 7, word_count=count)
        assert read_gguf_quantization(path) == "q8_0", count


def test_an_engine_name_contains_every_precision_except_f16() -> None:
    assert parse_precision(local_engine_name("f16")) == "f16"
    assert ", weights in" not in local_engine_name("f16")
    assert parse_precision(local_engine_name("q8_0")) == "q8_0"
    assert parse_precision("http://127.0.0.1:8000 0.9") == ""


def decide_parity(precision: str, mean: float, largest: float) -> GateClaim:
    parity = Parity(20, 800, mean, largest, precision=precision)
    return served_parity.decide_claim(parity)


def test_eight_bits_have_their_own_limits() -> None:
    assert [decide_parity(name, 0.02, 0.2).passed for name in ("f16", "q8_0")] == [False, True]
    assert precision_limits("fp8") == precision_limits("f16"), (
        "a precision without measured limits must get the strict ones"
    )


def test_an_external_server_in_bf16_has_the_limits_of_bf16(tmp_path: Path) -> None:
    """The measured .054 and .49 would exceed the limits of other precisions."""
    f16, fp16, bf16 = (decide_parity(name, 0.054, 0.49) for name in ("f16", "fp16", "bf16"))
    assert [claim.passed for claim in (f16, fp16, bf16)] == [False, False, True]
    assert "limit 0.01" in f16.detail
    assert "served in" not in f16.detail, "the default precision must not be named"
    assert "limit 0.1" in bf16.detail
    assert bf16.detail.endswith("served in bf16")
    assert [decide_parity(name, 0.0061, 0.046).passed for name in ("fp16", "bf16")] == [True, True]
    assert not decide_parity("bf16", 0.12, 0.49).passed, "rows in another order passed"
    config = tmp_path / "config.json"
    assert external_precision("", tmp_path) == "fp16"
    for stored, precision in (("bfloat16", "bf16"), ("float16", "fp16"), ("float32", "fp16")):
        for name in ("dtype", "torch_dtype"):
            config.write_text(json.dumps({name: stored}))
            assert external_precision("", tmp_path) == precision
            assert external_precision("bf16", tmp_path) == "bf16"


def test_the_configured_precision_is_in_the_engine_name(tmp_path: Path) -> None:
    with serve_models("base") as url:
        root = url.removesuffix("/v1")
        assert remote_engine_name(url, "") == root
        assert remote_engine_name(url, "", "bf16") == f"{root}, weights in bf16"
    assert parse_precision(f"{root}, weights in bf16") == "bf16"


def make_version(base: Path, base_gguf: str) -> ModelVersion:
    return build_version(state="candidate", base=str(base), base_gguf=base_gguf)


def test_the_served_precision_determines_the_limits(home: Settings, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"dtype": "bfloat16"}))
    q8_version = make_version(tmp_path, str(write_gguf(tmp_path / "b", 7)))
    remote_settings = home.model_copy(update={"model_server_url": "http://127.0.0.1:9/v1"})
    configured_settings = remote_settings.model_copy(update={"model_server_precision": "fp16"})

    assert ModelServers(home).precision(q8_version) == "q8_0"
    assert ModelServers(home).precision(make_version(tmp_path, "")) == "f16"
    assert ModelServers(remote_settings).precision(q8_version) == "bf16", (
        "the local file must not decide the remote precision"
    )
    assert ModelServers(configured_settings).precision(q8_version) == "fp16"


def build_entries(*texts: str) -> list[dict[str, object]]:
    return [{"token": text, "id": index} for index, text in enumerate(texts)]


def test_tokens_after_an_omitted_one_are_not_compared() -> None:
    reported = build_entries("a", " sky", "😀", " b")

    assert _count_aligned_tokens(reported, {"completion_tokens": 4}) is None
    assert _count_aligned_tokens(reported, {}) is None
    assert _count_aligned_tokens(reported, {"completion_tokens": 6}) == 2
    # the omitted token comes last
    assert _count_aligned_tokens(build_entries("a", "b"), {"completion_tokens": 3}) is None


def test_the_gate_compares_only_aligned_tokens() -> None:
    answer = ServedAnswer(
        "a 😀", (1, 2, 3), ({1: -1.0}, {2: -1.5}, {3: -9.0}), aligned_token_count=2
    )

    parity = compare(ConstantReference(), [[]], [answer], [answer])  # pyright: ignore[reportArgumentType]

    assert parity is not None
    assert (parity.value_count, parity.largest) == (4, 0.5)
