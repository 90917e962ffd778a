"""Specify an evaluation: the compared models, their data and their judges.

Scope: these values and the hash of an evaluation's inputs. Out of scope: measuring
(`measurement.py`), finding the candidate and reading tables (`judgement.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from twin_assets.evaluation.served.served_judges import Judges
from twin_resources.models.serving import served_model
from twin_resources.models.serving.served_precision import F16
from twin_resources.quality.judges.stored_results import doubling_bucket
from twin_resources.quality.judges.texts import WriterSample


@dataclass(frozen=True)
class ServerStarters:
    """Functions that return context managers; each context manager starts a server for one model.

    Attributes:
        engine: the inference engine, with its version.
    """

    candidate: served_model.StartServer
    base: served_model.StartServer
    engine: str


@dataclass(frozen=True)
class EvaluatedModel:
    """One model to measure.

    Attributes:
        name: name in reports, such as `candidate`, `v3` or `base model`.
        weights_id: a checkpoint's hash, or the revision of a base model.
        base_folder: transformers folder of the base model.
        adapter_folder: PEFT folder, or None for the base model only.
        precision: precision of the served weights, such as `f16`.
    """

    name: str
    weights_id: str
    base_folder: Path
    adapter_folder: Path | None = None
    precision: str = "f16"


@dataclass(frozen=True)
class EvaluationSpec:
    """Specification of an evaluation.

    Attributes:
        checkpoint: hash of the candidate.
        candidate, base: the compared models.
        incumbent: the stable version, or None if there is none.
        best: best version ever released; None if it is the incumbent or there is none.
        template: hash of the template that the checkpoint names.
        dataset: rows of `instruction_dataset`, all splits.
        dataset_version: data version of `dataset`.
        trained_on: document ids of the training sets of candidate and incumbent.
        token_budget: tokens of held-out passages that each model reads for perplexity.
        max_questions: largest number of held-out questions for candidate and base.
        nli_model: model that judges single sentences; empty to use the support score.
        other_author_count: number of the instance's other authors, for comparing the voice.
    """

    checkpoint: str
    candidate: EvaluatedModel
    base: EvaluatedModel
    incumbent: EvaluatedModel | None
    template: str
    dataset: pl.DataFrame = field(repr=False)
    dataset_version: str
    trained_on: frozenset[str] = field(repr=False)
    token_budget: int
    max_questions: int
    nli_model: str = ""
    other_author_count: int = 0
    best: EvaluatedModel | None = None

    def inputs_hash(self, incumbent_checkpoint: str, gate_version: str) -> str:
        """Return a hash of all inputs that determine the result.

        The number of other authors is rounded to a power of two, as in the voice calibration. A
        candidate refused for lack of a similar author is judged again when that number has doubled,
        not after each new author.
        """
        parts: list[str | int] = [self.checkpoint, incumbent_checkpoint, self.dataset_version]
        parts += [gate_version, self.token_budget, self.max_questions]
        parts += [doubling_bucket(self.other_author_count + 1), self.nli_model]
        parts += [self.best.weights_id if self.best else ""]
        if self.candidate.precision != F16:  # it determines the limits of parity
            parts.append(self.candidate.precision)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class JudgingContext:
    """Judges and texts for an author's answers.

    Attributes:
        judges: calibrated judges, or the reason why there are none.
        writer_samples: other people's texts, for the control.
        chunk_texts: texts of the author's chunks by id.
        base_answers: answers of the base model to training questions, for comparing habits.
    """

    judges: Judges
    writer_samples: Sequence[WriterSample] = field(repr=False)
    chunk_texts: Mapping[str, str] = field(repr=False)
    base_answers: Sequence[str] = field(repr=False)
