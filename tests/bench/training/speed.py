"""Tokens a second of the same training: ours, TRL's SFTTrainer as it comes and tuned.

Scope: the turns, and the loss on held-out answers that says whether they trained alike.
Each runner passes once over the same samples; tokens are counted without padding, seconds are those
of the steps. A turn of each, then the next; medians.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.retraining.rows import Row
from tests.bench.training.forms import Form
from tests.bench.training.material import MAX_LENGTH, Material, recipe
from tests.bench.training.peer import KINDS
from tests.bench.training.processes import NotMeasured, bare_command, peer_command, timed, write
from tests.bench.training.rows import missing, row
from twin_assets.checkpoints.job import Job, read_result
from twin_assets.checkpoints.samples import TokenizedSample
from twin_assets.training.losses import answer_losses

RANKS = 2
OURS = "ours"
MAX_LOSS = 1.01  # ours against the same training by TRL
NAMES = {"trl-defaults": "TRL defaults", "trl-tuned": "TRL tuned"}


def speed(form: Form, material: Material, scratch: Path) -> list[Row]:
    """The turns. A peer that fails is left out from then on and its row says why; ours may not."""
    figures: dict[str, list[dict[str, float]]] = {}
    adapters: dict[str, Path] = {}
    failed: dict[str, str] = {}
    for turn in range(form.rounds):
        for kind in (OURS, *KINDS):
            if kind in failed:
                continue
            name = f"turn {turn + 1} of {form.rounds}, {NAMES.get(kind, kind)}"
            sys.stderr.write(f"{name}: {material.tokens} tokens\n")
            job = write(scratch / f"{kind}-{turn}", material, recipe(), ranks=RANKS)
            try:
                found = _ours(job, name) if kind == OURS else _peer(job, kind, name)
                _require_same_tokens(kind, found["tokens"], material.tokens)
            except NotMeasured as error:
                if kind == OURS:
                    raise
                failed[kind] = str(error)
                sys.stderr.write(f"left out: {error}\n")
                continue
            figures.setdefault(kind, []).append(found)
            adapter = job.folder / ("output" if kind == OURS else "peer") / "adapter"
            adapters[kind] = adapter.rename(scratch / f"adapter-{kind}-{turn}")
            shutil.rmtree(job.folder)
            sys.stderr.write(f"{name}: {_said(found)}\n")
    sys.stderr.write("losses of held-out answers\n")
    losses = held_out_losses(material.base, adapters, material.held_out)
    return rows(form, figures, losses, failed)


def rows(
    form: Form,
    figures: dict[str, list[dict[str, float]]],
    losses: dict[str, float],
    failed: Mapping[str, str] | None = None,
) -> list[Row]:
    """The table.

    Args:
        figures: of each runner by turn; of a peer that failed in a later turn, the turns before.
        losses: mean of a held-out answer token, by runner and of `base`.
        failed: why, by peer. Figures of turns before its failure are not shown.
    """
    reasons = dict(failed or {})
    there = [kind for kind in KINDS if kind not in reasons]
    rate = {
        kind: statistics.median(found["tokens"] / found["seconds"] for found in figures[kind])
        for kind in (OURS, *there)
    }
    cpu = {
        kind: statistics.median(found["cpu_s"] / found["tokens"] * 1000 for found in figures[kind])
        for kind in (OURS, *there)
    }
    times = {
        kind: statistics.median(
            ours["tokens"] / ours["seconds"] / (other["tokens"] / other["seconds"])
            for ours, other in zip(figures[OURS], figures[kind], strict=True)
        )
        for kind in there
    }
    peers = {NAMES[kind]: rate[kind] for kind in there}
    label = f"{form.model}, {form.samples} samples, {RANKS} CPU ranks"
    # the tiny model's steps are mostly the loop's own, which a real model's are not
    goal = {} if form.tiny else {"trl-defaults": 1.5, "trl-tuned": 1.0}
    shown = {
        NAMES.get(kind, kind): value
        for kind, value in losses.items()
        if kind != OURS and kind not in reasons
    }
    ratio = f"that loss / {NAMES['trl-tuned']}"
    return [
        row(f"SFT tokens/s, {label}", rate[OURS], "1/s", peers=peers),
        *(
            missing(f"times {NAMES[kind]}", "×", reasons[kind], goal=goal.get(kind))
            if kind in reasons
            else row(f"times {NAMES[kind]}", times[kind], "×", at_least=goal.get(kind))
            for kind in KINDS
        ),
        row(
            "CPU s a thousand tokens, start to end",
            cpu[OURS],
            "s",
            peers={NAMES[kind]: cpu[kind] for kind in there},
        ),
        row("loss of a held-out answer token", losses[OURS], "nats", peers=shown),
        missing(ratio, "×", reasons["trl-tuned"], goal=MAX_LOSS)
        if "trl-tuned" in reasons
        else row(ratio, losses[OURS] / losses["trl-tuned"], "×", at_most=MAX_LOSS),
    ]


def _ours(job: Job, name: str) -> dict[str, float]:
    command, environment = bare_command(job)
    cost = timed(command, environment=environment, log=job.folder / "log", name=name)
    result = read_result(job.output_folder / "result.json")
    return {
        "tokens": result.tokens,
        "seconds": result.seconds,
        "cpu_s": cost.cpu_s,
        "steps": result.steps,
    }


def _peer(job: Job, kind: str, name: str) -> dict[str, float]:
    command, environment = peer_command(job, kind)
    cost = timed(command, environment=environment, log=job.folder / "log", name=name)
    path = job.folder / "peer" / "figures.json"
    found: dict[str, float] = json.loads(path.read_text("utf-8"))
    return found | {"steps_cpu_s": found["cpu_s"], "cpu_s": cost.cpu_s}


def _require_same_tokens(kind: str, found: float, wanted: int) -> None:
    """Peers render the end of a sample otherwise (a newline); more is another training.

    A packed row more is not: where the rows are odd, the sampler hands one of them to both ranks.
    """
    twice = MAX_LENGTH if kind == "trl-tuned" else 0
    if not 0.99 * wanted <= found <= 1.01 * wanted + twice:
        raise NotMeasured(f"{kind} saw {found:.0f} tokens, not {wanted}: another training")


def _said(found: dict[str, float]) -> str:
    rate = found["tokens"] / found["seconds"]
    return f"{rate:.0f} tokens/s, " + ", ".join(f"{k} {v:.0f}" for k, v in found.items())


def held_out_losses(
    base: Path, adapters: dict[str, Path], samples: Sequence[TokenizedSample]
) -> dict[str, float]:
    """Mean negative log-likelihood of an answer token, with each adapter and with none (`base`)."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def mean(model: Any) -> float:
        model.eval()
        with torch.no_grad():
            sums = [float(answer_losses(model, [sample], 64).sum()) for sample in samples]
        return sum(sums) / sum(sample.answer_tokens for sample in samples)

    def model() -> Any:
        return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)

    losses = {"base": mean(model())}
    for kind, adapter in adapters.items():
        losses[kind] = mean(PeftModel.from_pretrained(model(), adapter))
    return losses
