"""Measure tokens per second of the same training with our code and with TRL's SFTTrainer.

Scope: the rounds, and the loss on held-out answers, which shows whether the trainings are
equivalent. TRL runs with its defaults and tuned. In a round each runner passes once over the same
samples. Tokens are counted without padding, and only the steps are timed. The figures are medians
of the rounds.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.rows import MeasurementError, Row, bounded_row, missing_row
from tests.bench.training.inputs import MAX_TOKENS, TrainingInputs, build_recipe
from tests.bench.training.peer import PEERS
from tests.bench.training.processes import bare_command, peer_command, run_timed, write_bench_job
from tests.bench.training.sizes import BenchmarkSize
from twin_assets.checkpoints.job import Job, read_result
from twin_assets.checkpoints.samples import TokenizedSample
from twin_assets.training.losses import answer_losses

RANK_COUNT = 2
OURS = "ours"
MAX_LOSS = 1.01  # our loss / the loss of the same training with TRL
PEER_NAMES = {"trl-defaults": "TRL defaults", "trl-tuned": "TRL tuned"}


def measure_speed(size: BenchmarkSize, inputs: TrainingInputs, scratch: Path) -> list[Row]:
    """Run the rounds and return the rows.

    A peer that fails takes no further part, and its row gives the reason.

    Raises:
        MeasurementError: our training failed.
    """
    figures: dict[str, list[dict[str, float]]] = {}
    adapters: dict[str, Path] = {}
    failures: dict[str, str] = {}
    for round_number in range(size.rounds):
        for kind in (OURS, *PEERS):
            if kind in failures:
                continue
            name = f"round {round_number + 1} of {size.rounds}, {PEER_NAMES.get(kind, kind)}"
            sys.stderr.write(f"{name}: {inputs.token_count} tokens\n")
            job = write_bench_job(
                scratch / f"{kind}-{round_number}", inputs, build_recipe(), ranks=RANK_COUNT
            )
            try:
                run = _run_ours(job, name) if kind == OURS else _run_peer(job, kind, name)
                _require_same_tokens(kind, run["tokens"], inputs.token_count)
            except MeasurementError as error:
                if kind == OURS:
                    raise
                failures[kind] = str(error)
                sys.stderr.write(f"left out: {error}\n")
                continue
            figures.setdefault(kind, []).append(run)
            adapter = job.folder / ("output" if kind == OURS else "peer") / "adapter"
            adapters[kind] = adapter.rename(scratch / f"adapter-{kind}-{round_number}")
            shutil.rmtree(job.folder)
            sys.stderr.write(f"{name}: {_format_figures(run)}\n")
    sys.stderr.write("losses of held-out answers\n")
    losses = held_out_losses(inputs.base, adapters, inputs.held_out)
    return build_rows(size, figures, losses, failures)


def build_rows(
    size: BenchmarkSize,
    figures: dict[str, list[dict[str, float]]],
    losses: dict[str, float],
    failures: Mapping[str, str] | None = None,
) -> list[Row]:
    """Return the rows.

    Args:
        figures: each runner's figures by round; a failed peer has only those of the rounds before.
        losses: mean loss per held-out answer token, for each runner and for `base`.
        failures: the reason of each failed peer, whose figures are not shown.
    """
    reasons = dict(failures or {})
    measured = [kind for kind in PEERS if kind not in reasons]
    tokens_per_s = {
        kind: statistics.median(run["tokens"] / run["seconds"] for run in figures[kind])
        for kind in (OURS, *measured)
    }
    cpu_s = {
        kind: statistics.median(run["cpu_s"] / run["tokens"] * 1000 for run in figures[kind])
        for kind in (OURS, *measured)
    }
    speedups = {
        kind: statistics.median(
            ours["tokens"] / ours["seconds"] / (peer["tokens"] / peer["seconds"])
            for ours, peer in zip(figures[OURS], figures[kind], strict=True)
        )
        for kind in measured
    }
    peers = {PEER_NAMES[kind]: tokens_per_s[kind] for kind in measured}
    label = f"{size.model_description}, {size.sample_count} samples, {RANK_COUNT} CPU ranks"
    # The tiny model's steps are mostly overhead of the loop; a real model's are not.
    goals = {} if size.use_tiny_model else {"trl-defaults": 1.5, "trl-tuned": 1.0}
    peer_losses = {
        PEER_NAMES.get(kind, kind): value
        for kind, value in losses.items()
        if kind != OURS and kind not in reasons
    }
    loss_name = f"that loss / {PEER_NAMES['trl-tuned']}"
    return [
        bounded_row(f"SFT tokens/s, {label}", tokens_per_s[OURS], "1/s", peers=peers),
        *(
            missing_row(f"times {PEER_NAMES[kind]}", "×", reasons[kind], goal=goals.get(kind))
            if kind in reasons
            else bounded_row(
                f"times {PEER_NAMES[kind]}", speedups[kind], "×", at_least=goals.get(kind)
            )
            for kind in PEERS
        ),
        bounded_row(
            "CPU s per thousand tokens, start to end",
            cpu_s[OURS],
            "s",
            peers={PEER_NAMES[kind]: cpu_s[kind] for kind in measured},
        ),
        bounded_row("loss of a held-out answer token", losses[OURS], "nats", peers=peer_losses),
        missing_row(loss_name, "×", reasons["trl-tuned"], goal=MAX_LOSS)
        if "trl-tuned" in reasons
        else bounded_row(loss_name, losses[OURS] / losses["trl-tuned"], "×", at_most=MAX_LOSS),
    ]


def _run_ours(job: Job, name: str) -> dict[str, float]:
    command, environment = bare_command(job)
    cost = run_timed(command, environment=environment, log=job.folder / "log", name=name)
    result = read_result(job.output_folder / "result.json")
    return {
        "tokens": result.tokens,
        "seconds": result.seconds,
        "cpu_s": cost.cpu_s,
        "steps": result.steps,
    }


def _run_peer(job: Job, kind: str, name: str) -> dict[str, float]:
    command, environment = peer_command(job, kind)
    cost = run_timed(command, environment=environment, log=job.folder / "log", name=name)
    path = job.folder / "peer" / "figures.json"
    figures: dict[str, float] = json.loads(path.read_text("utf-8"))
    return figures | {"steps_cpu_s": figures["cpu_s"], "cpu_s": cost.cpu_s}


def _require_same_tokens(kind: str, actual: float, expected: int) -> None:
    """Require the expected number of tokens within 1 %.

    Peers render the end of a sample differently (a newline). One additional packed row is also
    allowed: if the number of rows is odd, the sampler assigns one of them to both ranks.

    Raises:
        MeasurementError: the difference is larger, so the trainings are not comparable.
    """
    repeated_tokens = MAX_TOKENS if kind == "trl-tuned" else 0
    if not 0.99 * expected <= actual <= 1.01 * expected + repeated_tokens:
        raise MeasurementError(f"{kind} trained on {actual:.0f} tokens, not {expected}")


def _format_figures(run: dict[str, float]) -> str:
    rate = run["tokens"] / run["seconds"]
    return f"{rate:.0f} tokens/s, " + ", ".join(f"{k} {v:.0f}" for k, v in run.items())


def held_out_losses(
    base: Path, adapters: dict[str, Path], samples: Sequence[TokenizedSample]
) -> dict[str, float]:
    """Return the mean loss per answer token with each adapter, and without one (`base`)."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def mean_loss(model: Any) -> float:
        model.eval()
        with torch.no_grad():
            sums = [float(answer_losses(model, [sample], 64).sum()) for sample in samples]
        return sum(sums) / sum(sample.answer_tokens for sample in samples)

    def load_base() -> Any:
        return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)

    losses = {"base": mean_loss(load_base())}
    for kind, adapter in adapters.items():
        losses[kind] = mean_loss(PeftModel.from_pretrained(load_base(), adapter))
    return losses
