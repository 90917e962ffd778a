"""Test that llama.cpp serves GGUF files with the log-probabilities of transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.greedy_answers import request_answers
from tests.live.serving.conftest import TinyModel, make_adapter
from twin_assets.evaluation.measures.served_parity import PARITY_LARGEST, PARITY_MEAN
from twin_assets.evaluation.served import parity
from twin_resources.errors import TwinError
from twin_resources.models.serving import served_model
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.settings import Settings
from twin_resources.storage.weights import gguf

pytestmark = pytest.mark.live

ANSWER_TOKENS = 8
PROMPTS = [
    [
        {"role": "system", "content": "You answer readers in the voice of Ada."},
        {"role": "user", "content": text},
    ]
    for text in (
        "What changed between 1984 and 2026, in 12,345 words?",
        "Quote:\n\n> naïve café – “déjà vu”\n\n```c\nint x = 0xFF;\n```\nWhy?",
        "Which  clock   keeps time\tbest?",
        "Why? " + "The pendulum of the tower clock swings once in two seconds. " * 30,
    )
]


def measure(
    settings: Settings,
    base: Path,
    adapter: Path | None,
    *,
    folder: Path,
    prompts: list[list[dict[str, str]]] = PROMPTS,
    reference: parity.ReferenceModel | None = None,
) -> parity.Parity:
    """Export a model, serve it and compare its answers; each prompt is asked twice.

    Args:
        reference: the reference of base and adapter if it is already loaded.
    """
    base_gguf = gguf.write_model(base, folder / "base.gguf")
    adapter_gguf = gguf.write_adapter(adapter, base, folder / "a.gguf") if adapter else None
    with ModelServers(settings).serve(base_gguf, adapter_gguf, alias="tested/v1") as server:
        answers = request_answers(server, prompts, max_tokens=ANSWER_TOKENS)
        repeated = request_answers(server, prompts, max_tokens=ANSWER_TOKENS)
    result = parity.compare(
        reference or parity.ReferenceModel(base, adapter), prompts, answers, repeated
    )
    assert result is not None
    return result


def copy_with_config(base: Path, folder: Path, change: Callable[[Any], Any]) -> Path:
    """Write a model with a changed configuration, new random weights and the same tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    config = change(LlamaConfig.from_pretrained(base))
    torch.manual_seed(11)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def set_values(**values: Any) -> Callable[[Any], Any]:
    def change(config: Any) -> Any:
        for name, value in values.items():
            setattr(config, name, value)
        return config

    return change


LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
SHAPES = {
    "as it is": set_values(),
    "one key head": set_values(num_key_value_heads=1),
    "a head for each query": set_values(num_key_value_heads=4),
    "wide heads": set_values(head_dim=32),
    "untied output": set_values(tie_word_embeddings=False),
    "Llama 3 rotary scaling": set_values(rope_parameters=LLAMA3),
}


def test_smollm2_with_an_adapter_matches_transformers_and_peft(
    home: Settings, smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate's limits apply to the embedded base model: 5 prompts, each asked twice.

    Measured: mean .002, largest .02; with rows of q and k in the wrong order at least .1.
    """
    adapter = make_adapter(smollm2, tmp_path / "adapter", scale=0.02)
    prompts = [[{"role": "user", "content": f"Question {n}: why {n * 37}?"}] for n in range(5)]

    reference = parity.ReferenceModel(smollm2, adapter)
    result = measure(home, smollm2, adapter, folder=tmp_path, prompts=prompts, reference=reference)

    assert result.prompt_count == len(prompts)
    assert result.value_count == 2 * len(prompts) * ANSWER_TOKENS * served_model.TOP_LOGPROBS
    assert result.mean < PARITY_MEAN
    assert result.largest < PARITY_LARGEST

    monkeypatch.setattr(gguf, "_to_gguf_rows", lambda _name, values, _config: values)
    unordered = gguf.write_adapter(adapter, smollm2, tmp_path / "unordered.gguf")
    with ModelServers(home).serve(tmp_path / "base.gguf", unordered, alias="tested/v1") as server:
        answers = request_answers(server, prompts[:2], max_tokens=ANSWER_TOKENS)
    wrong_result = parity.compare(reference, prompts[:2], answers, answers)
    assert wrong_result is not None
    assert wrong_result.mean > PARITY_MEAN


def test_a_missing_adapter_is_detected(home: Settings, model: TinyModel) -> None:
    with ModelServers(home).serve(model.base_gguf, None, alias="tested/v1") as server:
        answers = request_answers(server, PROMPTS, max_tokens=ANSWER_TOKENS)

    result = parity.compare(
        parity.ReferenceModel(model.base, model.adapter), PROMPTS, answers, answers
    )

    assert result is not None
    assert result.mean > PARITY_MEAN


@pytest.mark.parametrize("shape", SHAPES)
def test_all_supported_shapes_match(
    shape: str, home: Settings, model: TinyModel, tmp_path: Path
) -> None:
    base = copy_with_config(model.base, tmp_path / "base", SHAPES[shape])
    adapter = make_adapter(base, tmp_path / "adapter", rslora=True)

    result = measure(home, base, adapter, folder=tmp_path)
    base_result = measure(home, base, None, folder=tmp_path)

    # A random model depends little on the order of rows (.004 if wrong, .0001 if right), so its
    # limits are tighter than the gate's.
    for measured in (result, base_result):
        assert measured.mean < 0.001
        assert measured.largest < 0.01


def test_the_server_has_the_same_tokenization(
    home: Settings, model: TinyModel, smollm2: Path, shared_posts: Path
) -> None:
    import httpx
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    posts = sorted((shared_posts / "skeeto").rglob("*.m*"))[::40]
    assert posts
    with ModelServers(home).serve(model.base_gguf, alias="base") as server:
        url = server.url.removesuffix("/v1") + "/tokenize"
        for post in posts:
            text = post.read_text(encoding="utf-8")
            answer = httpx.post(
                url,
                json={"content": text, "parse_special": True},
                headers={"Authorization": f"Bearer {server.key}"},
                timeout=120,
            )
            assert answer.json()["tokens"] == tokenizer.encode(text).ids, post.name


def copy_with_edit(
    base: Path, folder: Path, name: str, change: Callable[[dict[str, Any]], Any]
) -> Path:
    shutil.copytree(base, folder)
    document = json.loads((folder / name).read_text(encoding="utf-8"))
    change(document)
    (folder / name).write_text(json.dumps(document), encoding="utf-8")
    return folder


UNSUPPORTED_CHANGES = {
    "another architecture": (
        "config.json",
        lambda document: document.update(architectures=["MambaForCausalLM"]),
        "MambaForCausalLM",
    ),
    "unknown rotary scaling": (
        "config.json",
        lambda document: document.update(
            rope_parameters={"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4}
        ),
        "yarn",
    ),
    "unknown pre-tokenizer": (
        "tokenizer.json",
        lambda document: document.update(pre_tokenizer={"type": "Whitespace"}),
        "pre-tokenizer",
    ),
    "no byte-level BPE": (
        "tokenizer.json",
        lambda document: document["model"].update(type="WordPiece"),
        "WordPiece",
    ),
}


@pytest.mark.parametrize("case", UNSUPPORTED_CHANGES)
def test_unsupported_models_are_an_error(case: str, model: TinyModel, tmp_path: Path) -> None:
    name, change, message = UNSUPPORTED_CHANGES[case]
    folder = copy_with_edit(model.base, tmp_path / "edited", name, change)
    gguf_path = tmp_path / "out.gguf"

    with pytest.raises(TwinError, match="TWIN_MODEL_SERVER_URL") as error:
        gguf.write_model(folder, gguf_path)

    assert message in error.value.found
    assert list(tmp_path.glob("out*")) == []


def test_an_adapter_that_gguf_does_not_support_is_an_error(
    model: TinyModel, tmp_path: Path
) -> None:
    folder = copy_with_edit(
        model.adapter,
        tmp_path / "dora",
        "adapter_config.json",
        lambda document: document.update(use_dora=True),
    )

    with pytest.raises(TwinError, match="use_dora"):
        gguf.write_adapter(folder, model.base, tmp_path / "out.gguf")
