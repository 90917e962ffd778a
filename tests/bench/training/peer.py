"""A rank of a peer's training: TRL's SFTTrainer on the same samples.

    python -m torch.distributed.run … -m tests.bench.training.peer --kind KIND --folder FOLDER

Scope: what a user of the library writes. Out of scope: starting it (`speed.py`).
All runners have the same model, samples (one pass), LoRA, AdamW, learning rate and schedule, seed,
and loss over the answers alone. `trl-defaults` leaves everything else at TRL's defaults;
`trl-tuned` has our dtype, batch, packing and padding. The device is that of the job's launch
configuration.
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

KINDS = ("trl-defaults", "trl-tuned")


def common_arguments(job: Job) -> dict[str, Any]:
    """Return the arguments of every peer."""
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


def lora_config(job: Job) -> Any:
    from peft import LoraConfig

    shape = job.recipe.lora
    assert shape is not None
    return LoraConfig(
        r=shape.rank,
        lora_alpha=shape.alpha,
        lora_dropout=shape.dropout,
        target_modules=list(shape.target_modules),
        task_type="CAUSAL_LM",
    )


def trl_trainer(job: Job, *, tuned: bool) -> Any:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = read_rows(job.samples_path)
    dataset = Dataset.from_list(
        [{"prompt": row["messages"][:-1], "completion": row["messages"][-1:]} for row in rows]
    )
    tuned_arguments: dict[str, Any] = {}
    if tuned:
        # A row contains one or two samples, and two ranks take a row each: about as many samples a
        # step as ours.
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
        args=SFTConfig(**common_arguments(job), **tuned_arguments),
        train_dataset=dataset,
        peft_config=lora_config(job),
    )


class CountingCollator:
    """A collator that counts the tokens of its batches without padding."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.tokens, self.answers = inner, 0, 0

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        self.tokens += sum(len(example["input_ids"]) for example in examples)
        batch = self.inner(examples)
        self.answers += int((batch["labels"] != -100).sum())
        return batch


def stopwatch() -> Any:
    """Return a callback that times the steps alone, as our figure does."""
    from transformers import TrainerCallback

    class Stopwatch(TrainerCallback):
        cpu_s = seconds = 0.0

        def on_step_begin(self, *unused: Any, **unused_too: Any) -> None:
            if not self.seconds:
                self.cpu_s, self.seconds = -time.process_time(), -time.perf_counter()

        def on_train_end(self, *unused: Any, **unused_too: Any) -> None:
            self.cpu_s += time.process_time()
            self.seconds += time.perf_counter()

    return Stopwatch()


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    job = read_job(options.folder / "job.json")
    torch.manual_seed(job.recipe.seed)
    trainer = trl_trainer(job, tuned=options.kind == "trl-tuned")
    trainer.data_collator = collator = CountingCollator(trainer.data_collator)
    clock = stopwatch()
    trainer.add_callback(clock)
    trainer.train()
    counts = [collator.tokens, collator.answers, clock.cpu_s, clock.seconds]
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
