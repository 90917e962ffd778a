"""Prepare a base model, or show a prepared one, and print its record as JSON.

Command: `python -m twin_resources.models.base_model prepare|show [--base-model NAME]`.
Scope: the arguments, the exit code, and the test that a base model must pass before it is ready:
its served answers must match those of transformers. A model that cannot chat only causes a warning.
Out of scope: fetching and converting (`storage/weights/weights.py`), comparing answers
(`serving/serving_parity.py`), testing whether a model chats (`serving/chat_ability.py`).

The test also covers an adapter with random weights on every linear layer, because GGUF may store a
weight differently, or llama.cpp's graph of the architecture may ignore adapters. If the test with
the adapter fails, each trained adapter is merged into a separate GGUF file (`BaseModel.adapters`).
"""
# pyright: strict, reportUnknownMemberType=false

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from twin_resources.errors import TwinError
from twin_resources.models.serving.chat_ability import ChatAbility, measure_chat_ability
from twin_resources.models.serving.model_server import ServerProcess
from twin_resources.models.serving.serving_parity import verify_serving_parity
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.weights.gguf import write_adapter
from twin_resources.storage.weights.weights import (
    BaseModel,
    PreparedFiles,
    Report,
    load_base_model,
    prepare_base_model,
)

# The parameters of the test adapter; trained weights have a similar scale.
RANK, WEIGHT_STD, SEED = 4, 0.02, 3


def prepare_and_verify(
    settings: Settings, name: str | None = None, *, report: Report = print
) -> BaseModel:
    """Prepare a base model, and verify that llama.cpp answers like transformers.

    Raises:
        TwinError: see `prepare_base_model`; also if the answers differ.
    """
    model_name = name or settings.base_model

    def verify(files: PreparedFiles) -> Mapping[str, Any]:
        figures = verify_files(settings, files, report=report)
        ability = measure_served_chat_ability(settings, files)
        if warning := ability.warning(model_name):
            report(f"warning: {warning}")
        return {**figures, "chat_faults": [list(fault) for fault in ability.faults]}

    return prepare_base_model(settings, name, report=report, verify=verify)


def verify_files(settings: Settings, files: PreparedFiles, *, report: Report) -> dict[str, Any]:
    """Compare a base model's served answers with the reference, and test adapters on it.

    Returns:
        The fields of `ServingParity`, `adapters` (`beside` or `merged`), and `adapters_why` (the
        reason for merging, or "").

    Raises:
        TwinError: the served answers differ from those of transformers.
    """
    report("comparing its served answers with the answers of transformers")
    parity = verify_serving_parity(
        settings, files.folder, files.gguf, precision=files.precision, end_tokens=files.end_tokens
    )
    report(str(parity))
    merge_reason = _find_merge_reason(settings, files)
    if merge_reason:
        report(f"each adapter will be merged into its own model file: {merge_reason}")
    return {
        **asdict(parity),
        "adapters": "merged" if merge_reason else "beside",
        "adapters_why": merge_reason,
    }


def measure_served_chat_ability(settings: Settings, files: PreparedFiles) -> ChatAbility:
    """Test on a llama.cpp server whether a base model can chat.

    Raises:
        TwinError: the model cannot be served.
    """
    process = ServerProcess(settings, files.gguf, None, alias="proof")
    try:
        return measure_chat_ability(process.wait_until_ready())
    finally:
        process.stop()


def _find_merge_reason(settings: Settings, files: PreparedFiles) -> str:
    """Return why llama.cpp cannot serve an adapter beside this model, or "" if it can."""
    adapter = write_random_adapter(files.folder, files.work_dir / "adapter")
    adapter_gguf = files.work_dir / "adapter.gguf"
    try:
        write_adapter(adapter, files.folder, adapter_gguf)
        verify_serving_parity(
            settings,
            files.folder,
            files.gguf,
            precision=files.precision,
            adapter=adapter,
            adapter_gguf=adapter_gguf,
        )
    except TwinError as error:
        return f"with an adapter, {error.found}"
    return ""


def write_random_adapter(model: Path, folder: Path) -> Path:
    """Write a PEFT folder with random weights on every linear layer except the output head."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base_model: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    torch.manual_seed(SEED)
    peft_model: Any = get_peft_model(
        base_model,
        LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    for name, weights in peft_model.named_parameters():
        if "lora_B" in name:
            weights.data.normal_(0, WEIGHT_STD)
    peft_model.save_pretrained(str(folder))
    return folder


def main() -> int:
    """Run the command; return 0 if the model is ready, else 2 with the next step on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m twin_resources.models.base_model", description=__doc__
    )
    parser.add_argument("command", choices=["prepare", "show"])
    parser.add_argument("--base-model", help="default: TWIN_BASE_MODEL")
    options = parser.parse_args()
    settings = load_settings()
    log = partial(print, file=sys.stderr, flush=True)
    try:
        if options.command == "prepare":
            model = prepare_and_verify(settings, options.base_model, report=log)
        else:
            model = load_base_model(settings, options.base_model)
    except TwinError as error:
        log(str(error))
        return 2
    sys.stdout.write(json.dumps(asdict(model), default=str) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
