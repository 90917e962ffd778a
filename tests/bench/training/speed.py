"""Tokens a second of the same training: ours, and TRL's SFTTrainer with its defaults and tuned.

Scope: the rounds, and the loss on held-out answers, which shows whether the trainings are equal.
In a round each runner passes once over the same samples. Tokens are counted without padding, and
seconds are those of the steps. The figures are medians of the rounds.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.rows import NotMeasured, Row, bounded_row, missing_row
from tests.bench.training.forms import BenchmarkSize
from tests.bench.training.material import MAX_LENGTH, Material, recipe
from tests.bench.training.peer import KINDS
from tests.bench.training.processes import (
    bare_command,
    peer_command,
    run_timed,
    write_bench_job,
)
from twin_assets.checkpoints.job import Job, read_result
from twin_assets.checkpoints.samples import TokenizedSample
from twin_assets.training.losses import answer_losses

RANKS = 2
OURS = "ours"
MAX_LOSS = 1.01  # ours / the same training by TRL
NAMES = {"trl-defaults": "TRL defaults", "trl-tuned": "TRL tuned"}


def speed(size: BenchmarkSize, material: Material, scratch: Path) -> list[Row]:
    """Run the rounds; return the rows.

    A peer that fails is left out from then on, and its row gives the reason.

    Raises:
        NotMeasured: our training failed.
    """
    figures: dict[str, list[dict[str, float]]] = {}
    adapters: dict[str, Path] = {}
    failed: dict[str, str] = {}
    for round_number in range(size.rounds):
        for kind in (OURS, *KINDS):
            if kind in failed:
                continue
            name = f"round {round_number + 1} of {size.rounds}, {NAMES.get(kind, kind)}"
            sys.stderr.write(f"{name}: {material.tokens} tokens\n")
            job = write_bench_job(
                scratch / f"{kind}-{round_number}", material, recipe(), ranks=RANKS
            )
            try:
                run = _run_ours(job, name) if kind == OURS else _run_peer(job, kind, name)
                _require_same_tokens(kind, run["tokens"], material.tokens)
            except NotMeasured as error:
                if kind == OURS:
                    raise
                failed[kind] = str(error)
                sys.stderr.write(f"left out: {error}\n")
                continue
            figures.setdefault(kind, []).append(run)
            adapter = job.folder / ("output" if kind == OURS else "peer") / "adapter"
            adapters[kind] = adapter.rename(scratch / f"adapter-{kind}-{round_number}")
            shutil.rmtree(job.folder)
            sys.stderr.write(f"{name}: {_format_figures(run)}\n")
    sys.stderr.write("losses of held-out answers\n")
    losses = held_out_losses(material.base, adapters, material.held_out)
    return rows(size, figures, losses, failed)


def rows(
    size: BenchmarkSize,
    figures: dict[str, list[dict[str, float]]],
    losses: dict[str, float],
    failed: Mapping[str, str] | None = None,
) -> list[Row]:
    """Return the rows.

    Args:
        figures: of each runner by round; a peer that failed has only the rounds before.
        losses: mean per held-out answer token, of each runner and of `base`.
        failed: reasons by peer; their figures are not shown.
    """
    reasons = dict(failed or {})
    measured = [kind for kind in KINDS if kind not in reasons]
    rate = {
        kind: statistics.median(run["tokens"] / run["seconds"] for run in figures[kind])
        for kind in (OURS, *measured)
    }
    cpu = {
        kind: statistics.median(run["cpu_s"] / run["tokens"] * 1000 for run in figures[kind])
        for kind in (OURS, *measured)
    }
    times = {
        kind: statistics.median(
            ours["tokens"] / ours["seconds"] / (peer["tokens"] / peer["seconds"])
            for ours, peer in zip(figures[OURS], figures[kind], strict=True)
        )
        for kind in measured
    }
    peers = {NAMES[kind]: rate[kind] for kind in measured}
    label = f"{size.model_description}, {size.sample_count} samples, {RANKS} CPU ranks"
    # The tiny model's steps are mostly overhead of the loop; a real model's are not.
    goal = {} if size.use_tiny_model else {"trl-defaults": 1.5, "trl-tuned": 1.0}
    peer_losses = {
        NAMES.get(kind, kind): value
        for kind, value in losses.items()
        if kind != OURS and kind not in reasons
    }
    ratio = f"that loss / {NAMES['trl-tuned']}"
    return [
        bounded_row(f"SFT tokens/s, {label}", rate[OURS], "1/s", peers=peers),
        *(
            missing_row(f"times {NAMES[kind]}", "×", reasons[kind], goal=goal.get(kind))
            if kind in reasons
            else bounded_row(f"times {NAMES[kind]}", times[kind], "×", at_least=goal.get(kind))
            for kind in KINDS
        ),
        bounded_row(
            "CPU s a thousand tokens, start to end",
            cpu[OURS],
            "s",
            peers={NAMES[kind]: cpu[kind] for kind in measured},
        ),
        bounded_row("loss of a held-out answer token", losses[OURS], "nats", peers=peer_losses),
        missing_row(ratio, "×", reasons["trl-tuned"], goal=MAX_LOSS)
        if "trl-tuned" in reasons
        else bounded_row(ratio, losses[OURS] / losses["trl-tuned"], "×", at_most=MAX_LOSS),
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
    allowed: with an odd number of rows, the sampler gives one of them to both ranks.

    Raises:
        NotMeasured: the difference is larger, so the trainings are not comparable.
    """
    repeated = MAX_LENGTH if kind == "trl-tuned" else 0
    if not 0.99 * expected <= actual <= 1.01 * expected + repeated:
        raise NotMeasured(f"{kind} trained on {actual:.0f} tokens, not {expected}")


def _format_figures(run: dict[str, float]) -> str:
    rate = run["tokens"] / run["seconds"]
    return f"{rate:.0f} tokens/s, " + ", ".join(f"{k} {v:.0f}" for k, v in run.items())


def held_out_losses(
    base: Path, adapters: dict[str, Path], samples: Sequence[TokenizedSample]
) -> dict[str, float]:
    """Return the mean loss of an answer token with each adapter and without one (`base`)."""
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
