"""The stored evaluation of one checkpoint: one JSON file and a report to read.

Belongs here: its schema, its files under the checkpoint's folder, what makes it out of date.
Does not belong here: measuring (`measurement.py`), deciding (`gate.py`).

    <checkpoint folder>/evaluation/<gate version>.json, <gate version>.md

Neither holds text of a post: numbers and ids alone.
"""
# pyright: strict

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from twin_assets.evaluation.gate import Comparison, Measured, OnTopic
from twin_assets.training.job import write_json
from twin_resources.errors import TwinError
from twin_resources.registry.moves import Verdict

SCHEMA = 1


@dataclass(frozen=True)
class Evaluation:
    """Everything measured for one checkpoint.

    Attributes:
        checkpoint: hash.
        rests_on: hash over all inputs; an evaluation that rests on others is out of date.
        measured: what the gate looks at.
        answer_tokens: that the perplexities rest on.
        precision: `bf16` or `fp32`.
        left_out: samples that could not be measured, by reason.
        copy_windows: runs of 8 words in the answers of the served model.
        copied_from_training, copied_from_prompt: shares of them.
        parity: details of the comparison with the served model.
        seconds: wall time by part.
    """

    checkpoint: str
    rests_on: str
    measured: Measured
    answer_tokens: int
    precision: str
    left_out: dict[str, int]
    copy_windows: int
    copied_from_training: float
    copied_from_prompt: float
    parity: dict[str, float]
    seconds: dict[str, float]


def evaluation_path(checkpoint_folder: Path, gate_version: str) -> Path:
    """Where the evaluation lies; the report has the same name and ends in `.md`."""
    return checkpoint_folder / "evaluation" / f"{gate_version}.json"


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"schema": SCHEMA} | asdict(evaluation))


def read_evaluation(path: Path) -> Evaluation | None:
    """Read an evaluation; None when there is none.

    Raises:
        TwinError: a newer version of this package wrote it.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if document["schema"] > SCHEMA:
        raise TwinError(
            f"read {path}",
            found=f"schema {document['schema']}, this version knows {SCHEMA}",
            next_step="update llm-twin",
        )
    document.pop("schema")
    measured: dict[str, Any] = document["measured"]
    for name in ("base", "incumbent"):
        measured[name] = Comparison(**measured[name]) if measured[name] else None
    on_topic: dict[str, Any] | None = measured["on_topic"]
    if on_topic is not None:
        on_topic["scale"] = tuple(on_topic["scale"])
    measured["on_topic"] = OnTopic(**on_topic) if on_topic else None
    measured["dataset_templates"] = tuple(measured["dataset_templates"])
    document["measured"] = Measured(**measured)
    return Evaluation(**document)


def report(evaluation: Evaluation, verdict: Verdict) -> str:
    """The evaluation as Markdown."""
    lines = [
        f"# Evaluation of {evaluation.checkpoint[:12]} of {verdict.author}",
        "",
        f"Verdict of {verdict.gate_version}: **{verdict.outcome.replace('_', ' ')}** "
        f"({verdict.created_at}).",
        "",
        "| claim | met | found |",
        "|---|---|---|",
    ]
    words = {True: "yes", False: "no", None: "not decided"}
    lines += [
        f"| `{claim.name}` | {words[claim.passed]} | {claim.detail} |" for claim in verdict.claims
    ]
    measured = evaluation.measured
    lines += ["", "| held-out perplexity | value | ratio | 95 % |", "|---|---|---|---|"]
    if measured.perplexity is not None:
        lines.append(f"| candidate | {measured.perplexity:.3f} | | |")
    lines += [
        f"| {found.name} | {found.perplexity:.3f} | {found.ratio:.4f} "
        f"| {found.low:.4f} to {found.high:.4f} |"
        for found in (measured.base, measured.incumbent)
        if found is not None
    ]
    parity = ", ".join(f"{name} {value:g}" for name, value in evaluation.parity.items())
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in evaluation.seconds.items())
    lines += [
        "",
        f"- {measured.passages} passages that no compared model was trained on, "
        f"{evaluation.answer_tokens} answer tokens, computed in {evaluation.precision}; left out: "
        f"{evaluation.left_out or 'none'}.",
        f"- Served model, copied word for word ({evaluation.copy_windows} runs of 8 words): "
        f"{100 * evaluation.copied_from_training:.1f} % from training answers, "
        f"{100 * evaluation.copied_from_prompt:.1f} % from its own prompt.",
        f"- Served model against transformers + PEFT in fp32: {parity or 'not asked'}.",
        f"- Time: {seconds}.",
        "",
    ]
    return "\n".join(lines)
