"""The stored evaluation of one checkpoint: one JSON file of numbers.

Scope: its schema, its place under the checkpoint's folder, what makes it out of date.
Out of scope: measuring (`measurement.py`), deciding (`gate.py`), what people read
(`markdown.py`).

    <checkpoint folder>/evaluation/<gate version>.json

The whole gate's record replaces that of a first verdict. It holds no text of a post: numbers and
ids alone.
"""
# pyright: strict

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from twin_assets.checkpoints.job import write_json
from twin_assets.evaluation.measures.measure import Measurements
from twin_assets.evaluation.measures.runner import fields_of, measurements_of
from twin_resources.errors import TwinError

SCHEMA = 4


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
        parity: details of the comparison with the served model.
        seconds: wall time by part.
        refused_early: claims that had refused it before any question was asked; the gate then
            asks no more than it shows.
        first: what a first verdict asked for alone (`sequential_plan.FIRST`).
    """

    checkpoint: str
    rests_on: str
    measured: Measurements
    answer_tokens: int
    precision: str
    left_out: dict[str, int]
    parity: dict[str, float]
    seconds: dict[str, float]
    refused_early: tuple[str, ...] = ()
    first: bool = False


@dataclass(frozen=True)
class SideBySide:
    """One held-out question with what each wrote: text, kept for the report alone.

    Attributes:
        sample_id, document_id, chunk_id: by which the file is found when a post is forgotten.
        author: the author's own answer.
        base: None: not asked in this evaluation, its scores were known.
    """

    sample_id: str
    document_id: str
    chunk_id: str
    question: str
    author: str
    candidate: str
    base: str | None


def evaluation_path(checkpoint_folder: Path, gate_version: str) -> Path:
    """Where the evaluation lies; the report has the same name and ends in `.md`."""
    return checkpoint_folder / "evaluation" / f"{gate_version}.json"


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    measured = {"measured": fields_of(evaluation.measured)}
    write_json(path, {"schema": SCHEMA} | asdict(evaluation) | measured)


def read_evaluation(path: Path) -> Evaluation | None:
    """Read an evaluation; None when there is none, or one of an older schema.

    Raises:
        TwinError: a newer version of this package wrote it, or it is damaged.
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
    if document.pop("schema") < SCHEMA:
        return None
    try:
        measured = measurements_of(document["measured"])
        document |= {"measured": measured}
        return TypeAdapter(Evaluation).validate_python(document)
    except ValidationError as error:
        raise TwinError(
            f"read {path}",
            found=f"{error.error_count()} fields that do not fit, the first {error.errors()[0]}",
            next_step="delete the file and materialize checkpoint_evaluation again",
        ) from error
