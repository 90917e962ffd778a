"""Run one rank of a peer's training: TRL's SFTTrainer on the same samples.

    python -m torch.distributed.run … -m tests.bench.training.peer --kind KIND --folder FOLDER

Scope: the code that a user of TRL writes. Out of scope: starting it (`speed.py`).
All runners have the same model, samples (one pass), LoRA, AdamW, learning rate and schedule, and
seed, and compute the loss only on answers. `trl-defaults` leaves everything else at TRL's defaults;
`trl-tuned` uses our dtype, batch size, packing and padding. The job's launch configuration selects
the device.
Source: https://huggingface.co/docs/trl/sft_trainer.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from twin_assets.checkpoints.job import Job, read_job, read_rows

PEERS = ("trl-defaults", "trl-tuned")


def shared_arguments(job: Job) -> dict[str, Any]:
    """Return the `SFTConfig` arguments that both peers share."""
    recipe = job.recipe
    return {
        "output_dir": str(job.folder / "peer"),
        "use_cpu": job.effective_launch.device == "cpu",
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "num_train_epochs": 1,
        "seed": recipe.seed,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": recipe.final_learning_rate_share},
        "warmup_steps": recipe.warmup_share,
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
    }


def create_lora_config(job: Job) -> Any:
    from peft import LoraConfig

    lora = job.recipe.lora
    assert lora is not None
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
        task_type="CAUSAL_LM",
    )


def create_trainer(job: Job, *, is_tuned: bool) -> Any:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = read_rows(job.samples_path)
    dataset = Dataset.from_list(
        [{"prompt": row["messages"][:-1], "completion": row["messages"][-1:]} for row in rows]
    )
    tuned_arguments: dict[str, Any] = {}
    if is_tuned:
        # A row contains one or two samples, and each of two ranks takes one row: about as many
        # samples per step as ours.
        tuned_arguments = {
            "per_device_train_batch_size": 1,
            "packing": True,
            "max_length": job.recipe.max_length,
            "pad_to_multiple_of": job.recipe.bucket,
            "gradient_checkpointing": False,
            "model_init_kwargs": {"dtype": "bfloat16"},
        }
    return SFTTrainer(
        model=str(job.base_folder),
        args=SFTConfig(**shared_arguments(job), **tuned_arguments),
        train_dataset=dataset,
        peft_config=create_lora_config(job),
    )


class CountingCollator:
    """A collator that counts the tokens and answer tokens in its batches, without padding."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.token_count, self.answer_token_count = inner, 0, 0

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        self.token_count += sum(len(example["input_ids"]) for example in examples)
        batch = self.inner(examples)
        self.answer_token_count += int((batch["labels"] != -100).sum())
        return batch


def create_stopwatch() -> Any:
    """Return a callback that times only the steps, as our figure does."""
    from transformers import TrainerCallback

    class Stopwatch(TrainerCallback):
        cpu_s = seconds = 0.0

        def on_step_begin(self, *_arguments: Any, **_options: Any) -> None:
            if not self.seconds:
                self.cpu_s, self.seconds = -time.process_time(), -time.perf_counter()

        def on_train_end(self, *_arguments: Any, **_options: Any) -> None:
            self.cpu_s += time.process_time()
            self.seconds += time.perf_counter()

    return Stopwatch()


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--kind", choices=PEERS, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    job = read_job(options.folder / "job.json")
    torch.manual_seed(job.recipe.seed)
    trainer = create_trainer(job, is_tuned=options.kind == "trl-tuned")
    trainer.data_collator = collator = CountingCollator(trainer.data_collator)
    stopwatch = create_stopwatch()
    trainer.add_callback(stopwatch)
    trainer.train()
    counts = [collator.token_count, collator.answer_token_count, stopwatch.cpu_s, stopwatch.seconds]
    total = torch.tensor(counts, dtype=torch.float64)
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if trainer.is_world_process_zero():
        trainer.model.save_pretrained(job.folder / "peer" / "adapter")
        figures = {
            "tokens": total[0].item(),
            "answer_tokens": total[1].item(),
            "cpu_s": total[2].item(),
            "seconds": total[3].item() / ranks,
            "steps": trainer.state.global_step,
            "ranks": ranks,
        }
        if torch.cuda.is_available():
            figures["gpu_peak_mb"] = torch.cuda.max_memory_allocated() / 1e6
        (job.folder / "peer" / "figures.json").write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
