"""Test the comparison of effective settings with the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from twin_assets.checkpoints.job import Job
from twin_assets.checkpoints.recipe import LoraShape, load_recipe
from twin_assets.training.resolved_config import expected_settings, require_expected_settings
from twin_resources.errors import TwinError

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def make_job(**changes: Any) -> Job:
    recipe = load_recipe("smollm2-135m-cpu").model_copy(update=changes)
    return Job(
        folder=Path("job"), base_name="tiny", base_folder=Path("tiny"), ranks=2, recipe=recipe
    )


def make_effective_settings(**changes: Any) -> dict[str, Any]:
    """Return the settings of a run of the recipe, with changes."""
    return expected_settings(make_job()) | {"lora_modules": dict.fromkeys(MODULES, 30)} | changes


def test_settings_that_match_the_recipe_are_accepted() -> None:
    require_expected_settings(
        make_effective_settings(), expected_settings(make_job()), recipe="mine"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 1e-4}, "learning_rate is 0.0001 and should be 0.001"),
        ({"accumulation": 1, "samples_per_step": 2}, "accumulation is 1 and should be 2"),
        ({"accumulation": 1, "samples_per_step": 2}, "samples_per_step is 2 and should be 4"),
        ({"zero_stage": 0}, "zero_stage is 0 and should be 2"),
        ({"ranks": 1}, "ranks is 1 and should be 2"),
        ({"optimizer": "SGD"}, "optimizer is 'SGD' and should be 'AdamW'"),
        ({"lora_rank": [8, 16]}, "lora_rank is [8, 16] and should be 16"),
        ({"lora_modules": {"q_proj": 30}}, "lora_modules is ['q_proj'] and should be"),
        ({"lora_modules": {}}, "lora_modules is [] and should be"),
        ({"gradient_checkpointing": True}, "gradient_checkpointing is True and should be False"),
    ],
)
def test_each_difference_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TwinError) as error:
        require_expected_settings(
            make_effective_settings(**changes), expected_settings(make_job()), recipe="mine"
        )
    assert message in error.value.found
    assert "recipe mine" in error.value.tried


def test_an_unexpected_adapter_is_a_difference() -> None:
    expected = expected_settings(make_job(lora=None))
    require_expected_settings(make_effective_settings(lora_modules={}), expected, recipe="full")
    with pytest.raises(TwinError, match=r"lora_modules is \['q_proj'\] and should be \[\]"):
        require_expected_settings(
            make_effective_settings(lora_modules={"q_proj": 2}), expected, recipe="full"
        )


def test_missing_target_modules_are_named() -> None:
    from transformers.models.llama import LlamaConfig, LlamaForCausalLM

    from twin_assets.training.adapter import add_adapter

    config = LlamaConfig(
        vocab_size=16,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    base = LlamaForCausalLM(config)
    lora = LoraShape(rank=2, alpha=4, dropout=0.0, target_modules=("q_proj", "query_key_value"))
    with pytest.raises(TwinError, match="no module query_key_value, which"):
        add_adapter(base, lora, initial_adapter=None)
