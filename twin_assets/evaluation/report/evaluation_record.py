"""Store the evaluation of a checkpoint as one JSON file.

    <checkpoint folder>/evaluation/<gate version>.json

The whole gate's record replaces that of a first verdict. A record contains only claims and numbers,
never post text.
"""
# pyright: strict

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from twin_assets.checkpoints.job import write_json
from twin_resources.errors import TwinError, check_schema
from twin_resources.quality.judges.voice_figures import VoiceFigures
from twin_resources.registry.moves import GateClaim

SCHEMA_VERSION = 6


@dataclass(frozen=True)
class Evaluation:
    """What the gate found out about one checkpoint.

    Attributes:
        checkpoint: hash of the checkpoint.
        rests_on: hash of all inputs; an evaluation is out of date if the current inputs differ.
        claims: the claims that were decided, including those on request, in the gate's order.
        passages: number of held-out passages that are not in any compared training set.
        perplexity: perplexity of the candidate on them, or None if there are too few.
        ratio_to_base: `perplexity` divided by the base model's.
        voice: habits of author, base and candidate for the plot; None with too few texts.
        precision: `bf16` or `fp32`.
        seconds: wall time by part.
        refused_early: claims that refused the checkpoint before any question was asked. The gate
            then asks only the questions that the report shows.
        first: whether only a first verdict was measured (`sequential_plan.FIRST_VERDICT`).
    """

    checkpoint: str
    rests_on: str
    claims: tuple[GateClaim, ...]
    precision: str
    seconds: dict[str, float]
    passages: int = 0
    perplexity: float | None = None
    ratio_to_base: float | None = None
    voice: VoiceFigures | None = None
    refused_early: tuple[str, ...] = ()
    first: bool = False


@dataclass(frozen=True)
class AnswerComparison:
    """One held-out question with all answers; the texts are kept only for the report.

    Attributes:
        sample_id, document_id, chunk_id: ids by which the file is found when a post is erased.
        author: the author's own answer.
        base: the base model's answer; None if this evaluation reused its scores without asking.
    """

    sample_id: str
    document_id: str
    chunk_id: str
    question: str
    author: str
    candidate: str
    base: str | None


def evaluation_path(checkpoint_folder: Path, gate_version: str) -> Path:
    """Return the path of the evaluation; the report has the same name with `.md`."""
    return checkpoint_folder / "evaluation" / f"{gate_version}.json"


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"schema": SCHEMA_VERSION} | asdict(evaluation))


def read_evaluation(path: Path) -> Evaluation | None:
    """Read an evaluation; return None if there is none or its schema version is older.

    Raises:
        TwinError: a newer version of this package wrote the file, or the file is damaged.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    schema = document.pop("schema")
    check_schema(f"read {path}", schema, SCHEMA_VERSION, next_step="update llm-twin")
    if schema < SCHEMA_VERSION:
        return None
    try:
        return TypeAdapter(Evaluation).validate_python(document)
    except ValidationError as error:
        raise TwinError(
            f"read {path}",
            found=f"{error.error_count()} invalid fields, the first {error.errors()[0]}",
            next_step="delete the file and materialize checkpoint_evaluation again",
        ) from error
