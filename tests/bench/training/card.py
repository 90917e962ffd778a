"""Tokens a second, MFU and peak memory of LoRA on one card: ours, TRL as it comes, TRL packed.

Belongs here: the shapes, random weights of them, samples of the bundled posts, and the table. Does
not belong here: a peer's training (`peer.py`), starting processes (`processes.py`).
Nothing is downloaded: speed does not ask what the weights are. TRL as it comes is bf16, eight
samples at once, gradient checkpointing, no packing; packed it has our rows and no checkpointing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.retraining.rows import Row
from tests.bench.training.material import KEPT
from tests.bench.training.processes import NotMeasured, timed
from tests.bench.training.rows import missing, row
from tests.gpu.random_base import make_tokenizer, rows
from twin_assets.checkpoints.job import Job, read_result, write_job, write_rows
from twin_assets.checkpoints.recipe import SAMPLES_ALONE, load_recipe
from twin_assets.training.gpu_figures import (
    matrix_weights,
    model_flops_utilization,
    peak_flops,
)
from twin_resources.models.training_launcher import computes_in_bf16

OURS = "ours"
PEERS = {"trl-defaults": "TRL as it comes", "trl-tuned": "TRL packed"}
GOALS = {"trl-defaults": 1.3, "trl-tuned": 1.0}
PASSAGES = 3  # paragraphs in a prompt, so that a sample is about as long as a real one
SAME_TOKENS = 0.02  # peers render the end of a sample otherwise


@dataclass(frozen=True)
class Shape:
    """One model: Llama's dimensions, how many samples are passed once, tokens of a packed row.

    Attributes:
        mfu: the goal; None: of a model whose steps are mostly the loop's own nothing is asked.
    """

    width: int
    inner: int
    layers: int
    heads: int
    vocabulary: int
    tied: bool
    samples: int
    row_tokens: int
    mfu: float | None


SHAPES = {
    "tiny": Shape(64, 128, 2, 4, 1024, True, 16, 2048, None),
    "1b": Shape(2048, 8192, 16, 32, 128256, True, 512, 8192, 0.35),
    "8b": Shape(4096, 14336, 32, 32, 128256, False, 256, 8192, 0.40),
}


def card(name: str, device: str, scratch: Path) -> list[Row]:
    """The table of one shape. A peer that fails has a row that says why; ours may not."""
    shape = SHAPES[name]
    base, weights = _base(name, shape, device)
    figures: dict[str, dict[str, float]] = {}
    failed: dict[str, str] = {}
    for kind in (OURS, *PEERS):
        sys.stderr.write(f"{PEERS.get(kind, kind)}: {shape.samples} samples\n")
        job = _job(scratch / kind, base, shape, device)
        try:
            figures[kind] = _ran(job, kind, device)
            _require_same_tokens(kind, figures)
        except NotMeasured as error:
            if kind == OURS:
                raise
            failed[kind] = str(error)
            figures.pop(kind, None)
    return table(name, device, figures, failed, weights=weights, peak=_peak(device))


def table(
    name: str,
    device: str,
    figures: dict[str, dict[str, float]],
    failed: dict[str, str],
    *,
    weights: int,
    peak: float | None,
) -> list[Row]:
    """The rows.

    Args:
        figures: tokens, seconds, and on a GPU gpu_peak_mb, of each runner.
        failed: why, by peer.
        peak: FLOP/s of the card; None: no row of MFU.
    """
    goal = SHAPES[name].mfu
    label = f"LoRA, {name}, random weights, one {'GPU' if device == 'cuda' else 'process on CPU'}"
    rate = {kind: one["tokens"] / one["seconds"] for kind, one in figures.items()}
    peers = [kind for kind in PEERS if kind in figures]

    def beside(values: dict[str, float]) -> dict[str, float]:
        return {PEERS[kind]: values[kind] for kind in peers}

    made = [row(f"SFT tokens/s, {label}", rate[OURS], "1/s", peers=beside(rate))]
    for kind, other in PEERS.items():
        wanted = None if goal is None else GOALS[kind]
        if kind in failed:
            made.append(missing(f"times {other}", "×", failed[kind], goal=wanted))
        else:
            made.append(row(f"times {other}", rate[OURS] / rate[kind], "×", at_least=wanted))
    if peak is not None:
        share = {
            kind: model_flops_utilization(value, weights=weights, lora=True, ranks=1, peak=peak)
            or 0.0
            for kind, value in rate.items()
        }
        made.append(row(f"MFU, {label}", share[OURS], "", at_least=goal, peers=beside(share)))
    if "gpu_peak_mb" in figures[OURS]:
        memory = {kind: one["gpu_peak_mb"] for kind, one in figures.items()}
        made.append(row(f"peak memory, {label}", memory[OURS], "MB", peers=beside(memory)))
    return made


def _job(folder: Path, base: Path, shape: Shape, device: str) -> Job:
    default = load_recipe("smollm2-135m-cpu").model_copy(update=SAMPLES_ALONE)
    recipe = default.model_copy(
        update={
            "launch": "gpu-single" if device == "cuda" else "cpu-single",
            "token_budget": 10**9,
            "max_epochs": 1,
            "samples_per_step": 8,
            "micro_batch_size": 1,
            "max_length": 2048,
            "packing": True,
            "row_tokens": shape.row_tokens,
            "checkpoint_every_steps": 10**6,
        }
    )
    job = Job(folder, "random", base, 1, recipe)
    write_job(job)
    write_rows(job.samples, long_rows(shape.samples))
    return job


def long_rows(count: int) -> list[dict[str, Any]]:
    """Samples whose prompts hold passages, as the instruction dataset's do."""
    short = rows(200)
    texts = [one["messages"][-1]["content"] for one in short]
    made: list[dict[str, Any]] = []
    for index in range(count):
        one = short[index % len(short)]
        start = 7 * index
        passages = [texts[(start + place) % len(texts)] for place in range(PASSAGES)]
        question, answer = one["messages"]
        prompt = {"role": "user", "content": "\n\n".join([*passages, question["content"]])}
        made.append(one | {"sample_id": f"sample-{index:04}", "messages": [prompt, answer]})
    return made


def _base(name: str, shape: Shape, device: str) -> tuple[Path, int]:
    """The transformers folder of the shape, made once, and its matrices' weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer()
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads // 4,
        max_position_embeddings=8192,
        tie_word_embeddings=shape.tied,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype=torch.bfloat16,
    )
    folder = KEPT / "random" / name
    if not (folder / "complete").is_file():
        torch.manual_seed(7)
        with torch.device(device):
            made: Any = LlamaForCausalLM(config).to(torch.bfloat16)
        made.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "complete").touch()
        del made
        if device == "cuda":
            torch.cuda.empty_cache()
    with torch.device("meta"):
        return folder, matrix_weights(LlamaForCausalLM(config))


def _ran(job: Job, kind: str, device: str) -> dict[str, float]:
    command, environment = _command(job, kind, device)
    timed(command, environment=environment, log=job.folder / "log", name=PEERS.get(kind, kind))
    if kind != OURS:
        path = job.folder / "peer" / "figures.json"
        return json.loads(path.read_text(encoding="utf-8"))
    result = read_result(job.output / "result.json")
    found: dict[str, float] = {"tokens": result.tokens, "seconds": result.seconds}
    if result.gpu_peak_mb is not None:
        found["gpu_peak_mb"] = result.gpu_peak_mb
    return found


def _command(job: Job, kind: str, device: str) -> tuple[Sequence[str], dict[str, str]]:
    environment = {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
    if device == "cuda":
        environment["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    if kind != OURS:
        script = ["-m", "tests.bench.training.peer", "--kind", kind, "--folder", str(job.folder)]
        return [sys.executable, *script], environment
    environment["ACCELERATE_MIXED_PRECISION"] = "bf16" if computes_in_bf16(device) else "no"
    if device == "cpu":
        environment |= {"ACCELERATE_USE_CPU": "true", "DS_ACCELERATOR": "cpu"}
    script = ["-m", "twin_assets.training.train", "--job", str(job.path)]
    return [sys.executable, *script], environment


def _require_same_tokens(kind: str, figures: dict[str, dict[str, float]]) -> None:
    tokens, wanted = figures[kind]["tokens"], figures[OURS]["tokens"]
    if abs(tokens / wanted - 1) > SAME_TOKENS:
        raise NotMeasured(f"{kind} saw {tokens:.0f} tokens, not {wanted:.0f}: another training")


def _peak(device: str) -> float | None:
    import torch

    return peak_flops(torch.cuda.get_device_name()) if device == "cuda" else None
