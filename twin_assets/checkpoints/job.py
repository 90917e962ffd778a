"""Define the job of a training run: one JSON file and its working folder.

Scope: the files that `train.py` reads and writes. Out of scope: starting its processes
(`training_launcher/`), using its output (`fine_tuning.py`).

    <folder>/job.json             the job itself
    <folder>/samples.json         sample_id, document_id, messages; dpo: rejected, rejected_ended
    <folder>/posts.json           sample_id, document_id, text; only with raw posts
    <folder>/reference.json       dpo: log-probabilities of each pair's answers before step 1
    <folder>/state/step-000010/   the last complete checkpoint, from which a killed run resumes
    <folder>/failure.json         the reason for a permanent failure that no retry would fix
    <folder>/output/              adapter/ and result.json; exists only after a complete run

Rows are stored as JSON, which a rank reads with the standard library alone. The training
environment therefore needs no table library.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from twin_assets.checkpoints.recipe import Launch, Recipe, load_launch
from twin_resources.atomic_writes import replace_file
from twin_resources.errors import TwinError

SCHEMA_VERSION = 4  # version 4 stores rows as JSON
Stage = Literal["sft", "dpo"]


@dataclass(frozen=True)
class Job:
    """One training run.

    Attributes:
        folder: absolute path of the folder described in the module docstring.
        base_name: name of the base model in the adapter's configuration.
        base_folder: transformers folder of the base model.
        ranks: number of processes; training refuses to run with any other number.
        recipe: effective hyper-parameters.
        stage: `sft` on samples, `dpo` on pairs.
        initial_adapter: PEFT folder of the adapter to continue from, which is also dpo's
            reference; None for a fresh adapter.
        launch: launch configuration, or None to use the recipe's.
        recipe_reason: the recipe and the reason for it, logged as the first line; may be empty.
    """

    folder: Path
    base_name: str
    base_folder: Path
    ranks: int
    recipe: Recipe
    stage: Stage = "sft"
    initial_adapter: Path | None = None
    launch: Launch | None = None
    recipe_reason: str = ""

    @property
    def effective_launch(self) -> Launch:
        """The job's own launch configuration, or the recipe's if the job has none."""
        return self.launch or load_launch(self.recipe.launch)

    @property
    def path(self) -> Path:
        return self.folder / "job.json"

    @property
    def samples_path(self) -> Path:
        return self.folder / "samples.json"

    @property
    def posts_path(self) -> Path:
        return self.folder / "posts.json"

    @property
    def reference_path(self) -> Path:
        return self.folder / "reference.json"

    @property
    def state_folder(self) -> Path:
        return self.folder / "state"

    @property
    def failure_path(self) -> Path:
        return self.folder / "failure.json"

    @property
    def output_folder(self) -> Path:
        return self.folder / "output"


def write_job(job: Job) -> Path:
    """Write `job.json` atomically and return its path."""
    document = {
        "schema": SCHEMA_VERSION,
        "base_name": job.base_name,
        "base_folder": str(job.base_folder),
        "ranks": job.ranks,
        "recipe": job.recipe.model_dump(),
        "stage": job.stage,
        "start": str(job.initial_adapter) if job.initial_adapter else None,
        "launch": job.effective_launch.model_dump(),
        "because": job.recipe_reason,
    }
    job.folder.mkdir(parents=True, exist_ok=True)
    write_json(job.path, document)
    return job.path


def read_job(path: Path) -> Job:
    """Read a `job.json`; its parent becomes the job's folder.

    Raises:
        TwinError: the schema differs from this code's schema.
    """
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if document["schema"] != SCHEMA_VERSION:
        raise TwinError(
            f"read {path}",
            found=f"schema version {document['schema']}; this code reads only {SCHEMA_VERSION}",
            next_step="run the same release here as on the machine that wrote the job",
        )
    return Job(
        folder=path.resolve().parent,
        base_name=document["base_name"],
        base_folder=Path(document["base_folder"]),
        ranks=document["ranks"],
        recipe=Recipe.model_validate(document["recipe"]),
        stage=document["stage"],
        initial_adapter=Path(document["start"]) if document["start"] else None,
        launch=Launch.model_validate(document["launch"]),
        recipe_reason=document["because"],
    )


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a list of rows to `samples_path` or `posts_path`, atomically."""
    write_json(path, list(rows), indent=None)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows that `write_rows` wrote, in the same order."""
    return json.loads(path.read_text(encoding="utf-8"))


def hash_rows(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the SHA-256 of a job's training rows, independent of order and file encoding."""
    digest = hashlib.sha256()
    for row in sorted(rows, key=lambda row: row["sample_id"]):
        digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


@dataclass(frozen=True)
class TrainingResult:
    """The result of a complete run (`output/result.json`).

    Attributes:
        steps: number of optimizer steps.
        tokens: tokens that the model processed, without padding.
        epochs: tokens as a share of one pass over all samples.
        samples: number of samples (or pairs) that were usable.
        left_out: number of unusable samples, by reason.
        tokens_per_second: throughput of the steps, excluding start-up and checkpoints.
        seconds: wall time of the steps, summed over all attempts.
        rss_mb: resident memory of all ranks at the end, in MB.
        precision: `bf16` or `fp32`.
        resumed_at: the completed steps after which a killed run resumed.
        history: for each step `step, loss, lr, tokens_per_s, grad_norm`; loss is the mean negative
            log-likelihood per answer token. For dpo it is the mean loss per pair, with `margin`,
            `accuracy` and `reward_chosen` (`losses.PreferenceObjective`).
        effective: the actual settings, read from model, optimizer and ranks (`resolved_config.py`).
        gpu_peak_mb: peak tensor memory of any rank on its GPU, in MB; None without GPUs.
        raw: blocks, block_tokens, steps, tokens and left_out of raw posts; empty without raw posts.
    """

    steps: int
    tokens: int
    epochs: float
    samples: int
    left_out: dict[str, int]
    tokens_per_second: float
    seconds: float
    rss_mb: int
    precision: str
    resumed_at: list[int]
    history: list[dict[str, float]]
    effective: dict[str, Any]
    gpu_peak_mb: int | None = None
    raw: dict[str, Any] = field(default_factory=dict[str, Any])


def write_result(path: Path, result: TrainingResult) -> None:
    write_json(path, asdict(result))


def read_result(path: Path) -> TrainingResult:
    return TrainingResult(**json.loads(path.read_text(encoding="utf-8")))


def write_json(
    path: Path, document: dict[str, Any] | list[Mapping[str, Any]], *, indent: int | None = 2
) -> None:
    """Write a file atomically, even if two ranks write it at the same time."""
    replace_file(path, json.dumps(document, indent=indent, sort_keys=True) + "\n")
