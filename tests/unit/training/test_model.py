"""Test loading the model for training and writing a fully trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, GptOssConfig
from transformers.models.llama import LlamaConfig, LlamaForCausalLM

from twin_assets.checkpoints.job import Job
from twin_assets.checkpoints.recipe import load_recipe
from twin_assets.checkpoints.samples import TokenizedSample
from twin_assets.training import model as models
from twin_assets.training.losses import answer_losses
from twin_assets.training.model import (
    choose_attention,
    load_training_model,
    supports_sdpa,
    write_model,
)
from twin_resources.errors import TwinError

SAMPLE = TokenizedSample("one", "document", tuple(range(3, 40)), 11, 37)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    model: Any = LlamaForCausalLM(config)
    model.to(torch.float16).save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    return folder


def load_model(base: Path, **changes: Any) -> tuple[Any, list[tuple[str, torch.nn.Parameter]]]:
    recipe = load_recipe("smollm2-135m-cpu").model_copy(update=changes)
    job = Job(folder=base, base_name="tiny", base_folder=base, ranks=1, recipe=recipe)
    torch.manual_seed(recipe.seed)
    return load_training_model(job, bf16=False, has_external_masters=False)


@pytest.mark.parametrize("changes", [{}, {"lora": None}], ids=["lora", "full"])
def test_gradient_checkpointing_gives_the_same_gradient(
    base: Path, changes: dict[str, Any]
) -> None:
    gradients: list[dict[str, torch.Tensor]] = []
    call_counts: list[int] = []
    for is_enabled in (False, True):
        model, parameters = load_model(base, gradient_checkpointing=is_enabled, **changes)
        calls: list[int] = []
        for module in model.modules():
            if type(module).__name__ == "LlamaMLP":
                module.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        answer_losses(model, [SAMPLE], 16).sum().backward()
        gradients.append({name: p.grad.clone() for name, p in parameters if p.grad is not None})
        call_counts.append(len(calls))
    assert call_counts == [2, 4]  # two layers, recomputed in the backward pass
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])
    assert any(value.abs().max() > 0 for value in gradients[0].values())


def test_a_fully_trained_model_is_written_in_the_bases_dtype(base: Path, tmp_path: Path) -> None:
    model, parameters = load_model(base, lora=None)
    assert {name for name, _ in parameters} == {name for name, _ in model.named_parameters()}
    weights = {name: p.detach() + 0.5 for name, p in parameters}
    write_model(tmp_path / "model", base, weights)
    reloaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert reloaded.dtype == torch.float16
    assert (tmp_path / "model" / "tokenizer.json").is_file()
    for name, value in reloaded.named_parameters():
        torch.testing.assert_close(value, weights[name].half())


def test_a_weight_that_the_base_lacks_is_an_error(base: Path, tmp_path: Path) -> None:
    with pytest.raises(TwinError, match=r"1 weights that the base model lacks: layer\.unknown"):
        write_model(tmp_path / "model", base, {"layer.unknown": torch.zeros(1)})


def test_the_attention_depends_on_installed_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("smollm2-135m-cpu")
    monkeypatch.setattr(models, "find_spec", lambda _: object())
    assert choose_attention(recipe, on_gpu=True) == "flash_attention_2"
    assert choose_attention(recipe, on_gpu=False) == "sdpa"
    monkeypatch.setattr(models, "find_spec", lambda _: None)
    assert choose_attention(recipe, on_gpu=True) == "sdpa"


def test_attention_is_eager_if_sdpa_is_unsupported() -> None:
    recipe = load_recipe("smollm2-135m-cpu")
    assert supports_sdpa(LlamaConfig())
    for config in (Gemma2Config(), GptOssConfig()):
        assert not supports_sdpa(config)
        assert choose_attention(recipe, on_gpu=False, sdpa=supports_sdpa(config)) == "eager"


@pytest.mark.parametrize("on_gpu", [True, False])
def test_unavailable_attention_is_an_error(monkeypatch: pytest.MonkeyPatch, on_gpu: bool) -> None:
    monkeypatch.setattr(models, "find_spec", lambda _: None)
    recipe = load_recipe("smollm2-135m-cpu").model_copy(update={"attention": "flash_attention_2"})
    message = "is not installed" if on_gpu else "for the CPU"
    with pytest.raises(TwinError, match=message):
        choose_attention(recipe, on_gpu=on_gpu)
