"""What is measured: the compared models, what they are measured on, what they are judged with.

Scope: these values and what an evaluation rests on. Out of scope: measuring
(`measurement.py`), finding the candidate and reading tables (`judgement.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from twin_assets.evaluation.served.answer_measures import Judges
from twin_resources.models.serving import served_model
from twin_resources.models.serving.served_precision import F16
from twin_resources.quality.judges.stored import doublings
from twin_resources.quality.judges.texts import WriterSample


@dataclass(frozen=True)
class ServerStarters:
    """Starts a server of either model (context managers).

    Attributes:
        engine: what computes the answers, with its version.
    """

    candidate: served_model.Serve
    base: served_model.Serve
    engine: str


@dataclass(frozen=True)
class EvaluatedModel:
    """One model to measure.

    Attributes:
        name: `candidate`, `v3`, `base model`.
        weights: names the weights: a checkpoint's hash, or the revision of a base model.
        base_folder: transformers folder.
        adapter_folder: PEFT folder; None: the base alone.
        precision: what the weights are stored in that are served.
    """

    name: str
    weights: str
    base_folder: Path
    adapter_folder: Path | None = None
    precision: str = "f16"


@dataclass(frozen=True)
class ReferenceAdapter:
    """An adapter that other authors taught (`other_authors/reference_adapter.py`).

    Attributes:
        authors: who they are; empty: a person has named the adapter.
    """

    model: EvaluatedModel
    authors: tuple[str, ...]


@dataclass(frozen=True)
class EvaluationSpec:
    """What shall be measured.

    Attributes:
        checkpoint: hash of the candidate.
        candidate, base: models; `incumbent`: the stable version, None when there is none.
        best: the best version that ever answered; None: it is the incumbent, or there is none.
        template: hash that the checkpoint names.
        dataset: rows of `instruction_dataset`, all splits.
        dataset_version: its data version.
        trained_on: document ids of the training sets of candidate and incumbent.
        token_budget: tokens of held-out passages that perplexity reads for each model.
        questions: held-out ones that candidate and base are asked, where there are so many.
        nli_model: judges single sentences; empty: the support score does.
        others: how many other authors of the instance the voice is told apart from.
        reference: the adapter of other authors, of the candidate's base model; None: there is none.
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
    questions: int
    nli_model: str = ""
    others: int = 0
    best: EvaluatedModel | None = None
    reference: ReferenceAdapter | None = None

    def rests_on(self, incumbent_checkpoint: str, gate_version: str) -> str:
        """Hash over everything that decides the result.

        Other authors count by doublings, as they do for the calibration of the voice: whoever was
        refused for want of somebody alike is judged again once one joins, not with each that does.
        """
        parts: list[str | int] = [self.checkpoint, incumbent_checkpoint, self.dataset_version]
        parts += [gate_version, self.token_budget, self.questions]
        parts += [doublings(self.others + 1), self.nli_model]
        parts += [self.best.weights if self.best else ""]
        if self.candidate.precision != F16:  # it decides how far served answers may differ
            parts.append(self.candidate.precision)
        if self.reference is not None:
            parts.append(f"reference {self.reference.model.weights}")
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class JudgingContext:
    """What an author's answers are judged with.

    Attributes:
        judges: calibrated, or with the reason why not.
        hands: other people's texts, for the control; `unseen`: those that no judge has seen.
        chunks: texts of the author's chunks by id.
        base_answers: of the base model to training questions, for comparing habits.
        base_parameters: of the base model; None: not known.
    """

    judges: Judges
    hands: Sequence[WriterSample] = field(repr=False)
    chunks: Mapping[str, str] = field(repr=False)
    base_answers: Sequence[str] = field(repr=False)
    base_parameters: int | None = None
    unseen: Sequence[WriterSample] = field(default=(), repr=False)
