"""Run the training loop for an adapter or a whole model.

Scope: model, optimizer, steps, and reporting from rank 0. Out of scope: training data
(`samples.py`, `batches.py`), losses (`losses.py`), starting and retrying (`training_launcher/`),
publishing (`fine_tuning.py`), Dagster beyond its Pipes protocol.

The module runs as `python -m twin_assets.training.train --job job.json`, in a forked process or
under a launcher, with or without DeepSpeed, on any number of ranks. A single CPU rank needs neither
a launcher nor DeepSpeed. The job's folder contains everything that determines the weights, and
training resumes from its last complete checkpoint.

The module is a plain loop over accelerate instead of transformers' or TRL's Trainer. On two CPU
cores, importing it takes a rank 2.3 CPU s, transformers' Trainer 7.3 and TRL's trainers 8.4. The
Trainers' checkpoints are pickles, and their steps do not follow the fixed plan that bit-exact
resumption requires.
Method: LoRA, https://arxiv.org/abs/2106.09685; ZeRO, https://arxiv.org/abs/1910.02054.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, InitProcessGroupKwargs

from twin_assets.checkpoints.batches import BatchPlan, Plannable, plan_stages
from twin_assets.checkpoints.job import (
    Job,
    TrainingResult,
    read_job,
    read_rows,
    write_json,
    write_result,
)
from twin_assets.checkpoints.recipe import learning_rate
from twin_assets.checkpoints.samples import (
    MAX_RAW_BLOCK_TOKENS,
    TokenizedSample,
    drop_passages,
    tokenize_pairs,
    tokenize_posts,
    tokenize_samples,
)
from twin_assets.training.adapter import write_adapter
from twin_assets.training.losses import (
    Objective,
    PreferenceObjective,
    SupervisedObjective,
    measure_reference,
)
from twin_assets.training.model import load_training_model, write_model
from twin_assets.training.ranks import (
    Report,
    disable_unused_modules,
    end_orphaned_ranks,
    exit_if_orphaned,
    gpu_peak_mb,
    is_valid_norm,
    join_process_group,
    open_reporter,
    raise_non_finite_error,
    require_gpus,
    rss_mb,
    select_micro_batches,
    set_accumulation_steps,
    write_failure,
)
from twin_assets.training.resolved_config import (
    Values,
    effective_settings,
    expected_settings,
    require_expected_settings,
    uses_fused_adamw,
)
from twin_assets.training.training_state import (
    PARTIAL_FOLDER,
    find_last_complete_checkpoint,
    gather_master_weights,
    load_optimizer,
    load_weights,
    save_state,
    set_master_weights,
)
from twin_resources.errors import TwinError
from twin_resources.processes.time_left import estimate_range, estimate_step_seconds
from twin_resources.storage.storage_faults import DiskFullError, translate_storage_errors


def train(job: Job, report: Report, accelerator: Accelerator) -> None:
    """Run or resume training; on return `job.output_folder` exists.

    Raises:
        TwinError: a retry would not help, for example with too few samples or a NaN loss.
    """
    torch.manual_seed(job.recipe.seed)
    samples, excluded_samples = _read_samples(job)
    blocks, excluded_posts = _read_posts(job)
    plan = _make_batch_plan(job, samples, blocks, excluded_samples, report)
    attempt = _Attempt.prepare(job, [*samples, *blocks], plan, report, accelerator)
    attempt.run()
    position = attempt.position
    result = TrainingResult(
        steps=len(plan.steps),
        tokens=plan.tokens,
        epochs=plan.epochs,
        samples=len(samples),
        left_out=dict(excluded_samples),
        tokens_per_second=plan.tokens / position["seconds"],
        seconds=position["seconds"],
        rss_mb=rss_mb(accelerator),
        precision="bf16" if accelerator.mixed_precision == "bf16" else "fp32",
        resumed_at=position["resumed_at"],
        history=position["history"],
        effective=attempt.running_settings,
        gpu_peak_mb=gpu_peak_mb(accelerator),
        raw=_raw_post_metadata(job, plan, blocks, excluded_posts),
    )
    weights = gather_master_weights(attempt.named_parameters, keep=accelerator.is_main_process)
    if accelerator.is_main_process:
        _write_output(job, accelerator.unwrap_model(attempt.model), weights, result)
    accelerator.wait_for_everyone()


@dataclass
class _Attempt:
    """One attempt at the steps of a plan.

    Attributes:
        named_parameters: the trained parameters, with their names.
        running_settings: the actual settings (`resolved_config.effective_settings`).
        position: step, seconds and history; saved with the weights.
    """

    job: Job
    samples: Sequence[Plannable]
    plan: BatchPlan
    report: Report
    accelerator: Accelerator
    model: Any
    named_parameters: list[tuple[str, torch.nn.Parameter]]
    optimizer: Any
    running_settings: Values
    position: dict[str, Any]
    objective: Objective

    @classmethod
    def prepare(
        cls,
        job: Job,
        samples: Sequence[Plannable],
        plan: BatchPlan,
        report: Report,
        accelerator: Accelerator,
    ) -> _Attempt:
        """Prepare to start from the job's last complete checkpoint, or else from the beginning."""
        model, named_parameters = load_training_model(
            job,
            bf16=accelerator.mixed_precision == "bf16",
            has_external_masters=accelerator.distributed_type == DistributedType.DEEPSPEED,
        )
        state = find_last_complete_checkpoint(job.state_folder)
        position: dict[str, Any] = {"step": 0, "seconds": 0.0, "resumed_at": [], "history": []}
        initial_weights = (
            {name: parameter.detach().float().cpu().clone() for name, parameter in named_parameters}
            if job.initial_adapter
            else {}
        )
        if state is not None:
            load_weights(named_parameters, state[0])
            position = state[1]
            position["resumed_at"].append(position["step"])
            report(f"resuming after step {position['step']} of {len(plan.steps)}")
        model, optimizer = _prepare(accelerator, model, named_parameters, job)
        micro_batches = select_micro_batches(plan.steps[0], job.recipe, accelerator)
        running_settings = effective_settings(
            accelerator, model, optimizer, plan, job, micro_batches
        )
        expected_values = expected_settings(job, accelerator.unwrap_model(model))
        require_expected_settings(running_settings, expected_values, recipe=job.recipe.name)
        if state is not None:
            load_optimizer(
                accelerator, named_parameters, optimizer, state[0], step=position["step"]
            )
        elif initial_weights:
            set_master_weights(named_parameters, initial_weights)
        return cls(
            job, samples, plan, report, accelerator, model, named_parameters, optimizer,
            running_settings, position,
            _build_objective(job, samples, plan, model, accelerator, report),
        )  # fmt: skip

    def run(self) -> None:
        """Take the remaining steps and save the state at intervals."""
        steps, checkpoint_interval = len(self.plan.steps), self.job.recipe.checkpoint_every_steps
        # Durations of this attempt's steps, including saves. An earlier attempt's do not predict
        # them.
        durations: list[float] = []
        last_step_end = time.perf_counter()
        for step in range(self.position["step"], steps):
            self._run_step(step)
            durations.append(time.perf_counter() - last_step_end)
            last_step_end = time.perf_counter()
            memory_metrics = {"rss_mb": rss_mb(self.accelerator)}
            if (gpu_peak := gpu_peak_mb(self.accelerator)) is not None:
                memory_metrics["gpu_peak_mb"] = gpu_peak
            _report_progress(self.report, self.position, steps, memory_metrics, durations)
            if (step + 1) % checkpoint_interval == 0 and step + 1 < steps:
                save_state(
                    self.accelerator,
                    self.named_parameters,
                    self.optimizer,
                    self.job.state_folder,
                    self.position,
                )

    def _run_step(self, step: int) -> None:
        """Take one step and record its duration and results in the position."""
        start_time = time.perf_counter()
        rate = learning_rate(self.job.recipe, step, steps=len(self.plan.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        means, norm = self._take_optimizer_step(step)
        seconds = time.perf_counter() - start_time
        tokens = sum(self.samples[index].length for index in self.plan.steps[step])
        self.position["step"] = step + 1
        self.position["seconds"] += seconds
        self.position["history"].append(
            {
                "step": step + 1,
                **{name: round(value, 5) for name, value in means.items()},
                "lr": rate,
                "grad_norm": round(norm, 5),
                "tokens_per_s": round(tokens / seconds, 1),
            }
        )

    def _take_optimizer_step(self, step: int) -> tuple[dict[str, float], float]:
        """Take one optimizer step; return the means (loss, `metric_names`) and gradient norm."""
        accelerator, objective, recipe = self.accelerator, self.objective, self.job.recipe
        ranks = accelerator.num_processes
        sample_indices = self.plan.steps[step]
        batches = select_micro_batches(sample_indices, recipe, accelerator)
        divisor = set_accumulation_steps(accelerator, len(batches))
        normalizer = objective.normalizer(sample_indices)
        sums = torch.zeros(2 + len(objective.metric_names), device=accelerator.device)
        losses: list[torch.Tensor] = []  # read only after the last batch; reading waits for the GPU
        norm: Any = 0.0
        for batch in batches:
            exit_if_orphaned()
            with accelerator.accumulate(self.model):
                loss, metric_sums = objective.batch_sums(self.model, batch)
                losses.append(loss.detach())
                sums[:-1] += torch.stack([loss.detach(), *metric_sums])
                # the gradient is averaged over ranks and micro-batches; this factor gives all
                # tokens or pairs equal weight
                accelerator.backward(loss * (ranks * divisor / normalizer))
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(
                        self.model.parameters(), recipe.max_grad_norm
                    )
                self.optimizer.step()
                self.optimizer.zero_grad()
        norm = float(norm if norm is not None else 0.0)
        are_finite: list[bool] = torch.stack(losses).isfinite().tolist()
        non_finite_ids = [  # this rank's samples whose loss is not a number
            objective.samples[index].sample_id
            for batch, is_finite in zip(batches, are_finite, strict=True)
            if not is_finite
            for index in batch
        ]
        sums[-1] = bool(non_finite_ids) or not is_valid_norm(norm)
        reduced_sums: Any = accelerator.reduce(sums, reduction="sum")
        if reduced_sums[-1].item() > 0:
            ids = [objective.samples[index].sample_id for index in sample_indices]
            raise_non_finite_error(
                step=step + 1, non_finite_ids=non_finite_ids, step_sample_ids=ids
            )
        means = (reduced_sums[:-1] / normalizer).tolist()
        return dict(zip(("loss", *objective.metric_names), means, strict=True)), norm


def _prepare(
    accelerator: Accelerator,
    model: Any,
    named_parameters: list[tuple[str, torch.nn.Parameter]],
    job: Job,
) -> tuple[Any, Any]:
    """Return the model and its optimizer, prepared for the ranks and DeepSpeed."""
    optimizer = torch.optim.AdamW(
        [parameter for _, parameter in named_parameters],
        lr=job.recipe.learning_rate,
        weight_decay=job.recipe.weight_decay,
        fused=uses_fused_adamw(job) or None,
    )
    return accelerator.prepare(model, optimizer)


def _build_objective(
    job: Job,
    samples: Sequence[Any],
    plan: BatchPlan,
    model: Any,
    accelerator: Accelerator,
    report: Report,
) -> Objective:
    recipe = job.recipe
    if job.stage == "sft":
        return SupervisedObjective(samples, recipe.bucket, recipe.packing)
    if not job.reference_path.is_file():
        planned_indices = sorted({index for step in plan.steps for index in step})
        report(f"computing reference log-probabilities of {len(planned_indices)} pairs")
        pairs = [samples[index] for index in planned_indices]
        log_probabilities = measure_reference(
            accelerator, model, pairs, recipe.bucket, exit_if_orphaned, packing=recipe.packing
        )
        if accelerator.is_main_process:
            write_json(job.reference_path, log_probabilities)
    accelerator.wait_for_everyone()
    reference = json.loads(job.reference_path.read_text(encoding="utf-8"))
    preference_recipe = recipe.required_preference
    return PreferenceObjective(
        samples,
        recipe.bucket,
        preference_recipe.beta,
        reference,
        recipe.packing,
    )


def _read_samples(job: Job) -> tuple[Sequence[Plannable], Counter[str]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.base_folder)
    rows = sorted(read_rows(job.samples_path), key=lambda row: row["sample_id"])
    max_length = job.recipe.max_length
    if job.stage == "dpo":
        return tokenize_pairs(rows, tokenizer, max_length=max_length)
    rows = drop_passages(rows, share=job.recipe.without_passages, seed=job.recipe.seed)
    return tokenize_samples(rows, tokenizer, max_length=max_length)


def _read_posts(job: Job) -> tuple[Sequence[TokenizedSample], Counter[str]]:
    """Return the blocks of raw posts, or none if the recipe's `raw_share` is 0."""
    if not _trains_on_posts(job):
        return [], Counter()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.base_folder)
    rows = sorted(read_rows(job.posts_path), key=lambda row: row["document_id"])
    return tokenize_posts(rows, tokenizer)


def _trains_on_posts(job: Job) -> bool:
    return job.stage == "sft" and job.recipe.raw_share > 0


def _raw_post_metadata(
    job: Job, plan: BatchPlan, blocks: Sequence[TokenizedSample], left_out: Counter[str]
) -> dict[str, Any]:
    if not _trains_on_posts(job):
        return {}
    return {
        "block_tokens": MAX_RAW_BLOCK_TOKENS,
        "blocks": len(blocks),
        "steps": plan.raw_steps,
        "tokens": plan.raw_tokens,
        "left_out": dict(left_out),
    }


def _make_batch_plan(
    job: Job,
    samples: Sequence[Plannable],
    blocks: Sequence[Plannable],
    left_out: Counter[str],
    report: Report,
) -> BatchPlan:
    recipe = job.recipe
    if len(samples) < recipe.samples_per_step:
        reasons = "".join(
            f", {count} left out: {reason}" for reason, count in sorted(left_out.items())
        )
        raise TwinError(
            "plan the training",
            found=f"{len(samples)} usable samples{reasons}; a step needs {recipe.samples_per_step}",
            next_step="import more posts, or lower samples_per_step in the recipe; if samples are "
            "too_long, raise max_length; if answer_merges_with_prompt, choose a base model with "
            "another chat template",
        )
    plan = plan_stages(
        samples,
        blocks,
        raw_share=recipe.raw_share,
        token_budget=recipe.token_budget,
        max_epochs=recipe.max_epochs,
        samples_per_step=recipe.samples_per_step,
        seed=recipe.seed,
    )
    if _trains_on_posts(job) and not plan.raw_steps:
        report(f"training uses no raw posts, because {len(blocks)} blocks are too few")
    return plan


def _write_output(
    job: Job, model: Any, weights: dict[str, torch.Tensor], result: TrainingResult
) -> None:
    partial_folder = _partial_output_folder(job)
    shutil.rmtree(partial_folder, ignore_errors=True)
    if job.recipe.lora is None:
        write_model(partial_folder / "model", job.base_folder, weights)
    else:
        write_adapter(partial_folder / "adapter", model, weights, base_name=job.base_name)
    write_result(partial_folder / "result.json", result)
    partial_folder.rename(job.output_folder)


def _partial_output_folder(job: Job) -> Path:
    return job.folder / "output.partial"


def _report_progress(
    report: Report,
    position: dict[str, Any],
    steps: int,
    memory_metrics: dict[str, Any],
    durations: Sequence[float],
) -> None:
    last_step = position["history"][-1]
    values = last_step | {"steps": steps} | memory_metrics
    step_seconds = estimate_step_seconds(durations)
    if step_seconds is not None:
        values["eta_s"] = estimate_range((steps - position["step"]) * step_seconds)
    report(f"progress {json.dumps(values)}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run the training that a job describes.")
    parser.add_argument("--job", type=Path, required=True)
    job = read_job(parser.parse_args(arguments).job)
    if not torch.cuda.is_available():
        disable_unused_modules(with_deepspeed=bool(job.effective_launch.deepspeed))
    rank = int(os.environ.get("RANK", "0"))
    if os.environ.get("LOCAL_RANK", "0") == "0":
        end_orphaned_ranks(job)
    join_process_group(rank)
    with open_reporter(is_main=rank == 0) as report:
        try:
            if job.recipe_reason:
                report(job.recipe_reason)
            report("starting the ranks")
            require_gpus(job)
            # under DeepSpeed, accelerate sets no backend for CPU ranks, so each would train alone
            uses_gloo = job.effective_launch.deepspeed and job.effective_launch.device == "cpu"
            accelerator = Accelerator(
                gradient_accumulation_steps=job.recipe.accumulation_steps(job.ranks),
                kwargs_handlers=[InitProcessGroupKwargs(backend="gloo")] if uses_gloo else None,
            )
            if accelerator.num_processes != job.ranks:
                raise TwinError(
                    f"train on {job.ranks} ranks",
                    found=f"accelerate started {accelerator.num_processes} ranks",
                    next_step="check the launch configuration and the log",
                )
            with translate_storage_errors(
                "write the checkpoint or the output of a training run",
                job.folder,
                only=DiskFullError,
            ):
                train(job, report, accelerator)
            accelerator.end_training()
        except TwinError as error:
            if isinstance(error, DiskFullError):
                # incomplete output is useless, and recording the failure needs a little space
                shutil.rmtree(job.state_folder / PARTIAL_FOLDER, ignore_errors=True)
                shutil.rmtree(_partial_output_folder(job), ignore_errors=True)
            write_failure(job, error, rank=rank)
            sys.stderr.write(f"{error}\n")
            return 3
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
