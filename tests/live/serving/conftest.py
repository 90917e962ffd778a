"""Provide a tiny random Llama (f16 GGUF) with a random adapter, which loads within a second."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live.tiny_model import make_tiny_model
from tests.prepared_base import base_folder
from twin_resources.settings import Settings
from twin_resources.storage.weights import gguf


@dataclass(frozen=True)
class TinyModel:
    """A base model with an adapter, in the Hugging Face and GGUF formats."""

    base: Path
    adapter: Path
    base_gguf: Path
    adapter_gguf: Path


def make_adapter(base: Path, folder: Path, *, scale: float = 0.1, rslora: bool = False) -> Path:
    """Write a PEFT adapter with random weights in both LoRA matrices of every projection."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(
        r=4, lora_alpha=8, target_modules=names, task_type="CAUSAL_LM", use_rslora=rslora
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            weights.data.normal_(0, scale)
    model.save_pretrained(str(folder))
    return folder


@pytest.fixture(autouse=True)
def _keep_logs(home: Settings, process_logs: Path) -> None:
    """Keep the servers' logs in the folder that a failed test prints."""
    home.logs_dir.symlink_to(process_logs, target_is_directory=True)


@pytest.fixture(scope="session")
def smollm2() -> Path:
    return base_folder()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, smollm2: Path) -> TinyModel:
    folder = tmp_path_factory.mktemp("served")
    base = make_tiny_model(folder / "base", smollm2)
    adapter = make_adapter(base, folder / "adapter")
    return TinyModel(
        base=base,
        adapter=adapter,
        base_gguf=gguf.write_model(base, folder / "base.gguf"),
        adapter_gguf=gguf.write_adapter(adapter, base, folder / "adapter.gguf"),
    )
