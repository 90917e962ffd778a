"""The job that a training is handed: one JSON file, and the folder it works in.

Scope: what `train.py` reads and where it writes. Out of scope: how its processes are
started (`training_launcher/`), what is done with its output (`fine_tuning.py`).

    <folder>/job.json             this
    <folder>/samples.json         sample_id, document_id, messages; dpo: rejected, rejected_ended
    <folder>/posts.json           sample_id, document_id, text; only where raw posts come first
    <folder>/reference.json       dpo: log-probabilities of each pair's answers before step 1
    <folder>/weight_hashes.json   of the base; only where its weights are shared out (ZeRO-3)
    <folder>/state/step-000010/   the last complete checkpoint; a killed training goes on from it
    <folder>/failure.json         why it stopped for good: nothing that a retry would mend
    <folder>/output/              adapter/ and result.json; there only when the training is complete

The rows are JSON, which a rank reads with what Python brings: no library of tables is needed where
a job's folder is trained.
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

SCHEMA = 4  # 4: rows as JSON
Stage = Literal["sft", "dpo"]


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        folder: as the module's docstring shows; absolute.
        base_name: how the adapter names its base model.
        base_folder: transformers folder of the base model.
        ranks: processes; the training refuses to run with another number.
        recipe: effective hyper-parameters.
        stage: `sft` on samples, `dpo` on pairs.
        start: PEFT folder of the adapter to go on from; None: a fresh one. It is dpo's reference.
        launch: how its processes are started; None: as the recipe names it.
        because: which recipe and why, the first line of the log; empty: nobody chose one.
    """

    folder: Path
    base_name: str
    base_folder: Path
    ranks: int
    recipe: Recipe
    stage: Stage = "sft"
    start: Path | None = None
    launch: Launch | None = None
    because: str = ""

    @property
    def launched_by(self) -> Launch:
        """The launch configuration: the job's own, else the recipe's."""
        return self.launch or load_launch(self.recipe.launch)

    @property
    def path(self) -> Path:
        return self.folder / "job.json"

    @property
    def samples(self) -> Path:
        return self.folder / "samples.json"

    @property
    def posts(self) -> Path:
        return self.folder / "posts.json"

    @property
    def reference(self) -> Path:
        return self.folder / "reference.json"

    @property
    def weight_hashes(self) -> Path:
        return self.folder / "weight_hashes.json"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def failure(self) -> Path:
        return self.folder / "failure.json"

    @property
    def output(self) -> Path:
        return self.folder / "output"


def write_job(job: Job) -> Path:
    """Write `job.json` (atomically) and return its path."""
    document = {
        "schema": SCHEMA,
        "base_name": job.base_name,
        "base_folder": str(job.base_folder),
        "ranks": job.ranks,
        "recipe": job.recipe.model_dump(),
        "stage": job.stage,
        "start": str(job.start) if job.start else None,
        "launch": job.launched_by.model_dump(),
        "because": job.because,
    }
    job.folder.mkdir(parents=True, exist_ok=True)
    write_json(job.path, document)
    return job.path


def read_job(path: Path) -> Job:
    """Read a `job.json`; the folder is the one it lies in.

    Raises:
        TwinError: a newer schema than this code knows.
    """
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if document["schema"] != SCHEMA:
        raise TwinError(
            f"read {path}",
            found=f"schema {document['schema']}, this version knows {SCHEMA}",
            next_step="run the same release here as where the job was written",
        )
    return Job(
        folder=path.resolve().parent,
        base_name=document["base_name"],
        base_folder=Path(document["base_folder"]),
        ranks=document["ranks"],
        recipe=Recipe.model_validate(document["recipe"]),
        stage=document["stage"],
        start=Path(document["start"]) if document["start"] else None,
        launch=Launch.model_validate(document["launch"]),
        because=document.get("because", ""),  # a job that an older release had begun
    )


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `Job.samples` or `Job.posts`: a list of rows, complete whenever the file exists."""
    write_json(path, list(rows), indent=None)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """What `write_rows` wrote, in its order."""
    return json.loads(path.read_text(encoding="utf-8"))


def rows_hash(rows: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 of the rows that a job trains on, whatever their order and the file's own bytes."""
    digest = hashlib.sha256()
    for row in sorted(rows, key=lambda row: row["sample_id"]):
        digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


@dataclass(frozen=True)
class TrainingResult:
    """What a complete training says about itself (`output/result.json`).

    Attributes:
        steps: optimizer steps.
        tokens: tokens that passed the model, padding left out.
        epochs: that as a share of one pass over all samples.
        samples: samples (or pairs) that could be trained on.
        left_out: how many could not, by reason.
        tokens_per_second: over the steps, start and checkpoints left out.
        seconds: wall time of the steps, summed over all attempts.
        rss_mb: resident memory of all ranks at the end, in MB.
        precision: `bf16` or `fp32`.
        resumed_at: the steps at which a killed training went on.
        history: for each step `step, loss, lr, tokens_per_s, grad_norm`; loss is the mean negative
            log-likelihood of an answer token. dpo: the
            mean loss of a pair, with `margin`, `accuracy` and `reward_chosen`
            (`losses.Preference`).
        effective: what really ran, read from model, optimizer and ranks (`resolved_config.py`).
        gpu_peak_mb: most memory of a rank's tensors on its GPU, in MB; None without GPUs.
        raw: blocks, block_tokens, steps, tokens and left_out of raw posts; empty: none came first.
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
    """Write a file that is complete whenever it exists; two ranks may write it at once."""
    replace_file(path, json.dumps(document, indent=indent, sort_keys=True) + "\n")
