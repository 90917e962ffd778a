"""Likelihoods of held-out answers, computed once for a model and a passage, and kept.

Belongs here: the table and what a row is known by. Does not belong here: computing one
(`perplexity.py`), which passages and models (`measurement.py`).

A gate compares the candidate with the base and the stable version, and both were measured before:
by the gate that released the stable version. A row is a model's likelihood of one tokenized sample
in one precision; rows of models and passages that a gate does not ask for any more are deleted.
Batches of other passages round a likelihood in bf16 a little differently, by less than the interval
over passages by orders of magnitude.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from twin_assets.evaluation.perplexity import AnswerLikelihood
from twin_assets.training.samples import TokenizedSample

if TYPE_CHECKING:
    from twin_resources.tables.tables import Tables

TABLE = "answer_likelihoods"
VERSION = "1"  # goes up when `perplexity.answer_likelihood` computes something else
_SCHEMA: Mapping[str, pl.DataType] = {
    "likelihood_id": pl.String(),
    "negative_log_likelihood": pl.Float64(),
}

Compute = Callable[[list[TokenizedSample]], AnswerLikelihood]


@dataclass
class Likelihoods:
    """Likelihoods of one author's held-out answers.

    Attributes:
        precision: `bf16` or `fp32`; one is not taken for the other.
    """

    tables: Tables
    author: str
    precision: str

    def __post_init__(self) -> None:
        self._known: dict[str, float] = {}
        self._asked: dict[str, float] = {}
        if self.tables.exists(TABLE, self.author):
            stored = self.tables.read(TABLE, self.author, columns=list(_SCHEMA))
            self._known = dict(stored.iter_rows())

    def unknown(self, model: str, samples: Sequence[TokenizedSample]) -> list[TokenizedSample]:
        """Those that are not known for a model."""
        return [sample for sample in samples if self._id(model, sample) not in self._known]

    def of(
        self, model: str, samples: Sequence[TokenizedSample], compute: Compute
    ) -> AnswerLikelihood:
        """Likelihoods of all samples; only unknown ones are computed.

        Args:
            model: hash of the model's weights.
            compute: not called when all are known.
        """
        missing = self.unknown(model, samples)
        if missing:
            found = compute(missing).negative_log_likelihoods
            for sample, value in zip(missing, found, strict=True):
                self._known[self._id(model, sample)] = value
        names = [self._id(model, sample) for sample in samples]
        self._asked |= {name: self._known[name] for name in names}
        return AnswerLikelihood(
            tuple(self._known[name] for name in names),
            tuple(sample.answer_tokens - 1 for sample in samples),
        )

    def keep(self) -> None:
        """Store what was asked for since this was made; nothing else stays."""
        values = pl.DataFrame(
            {"likelihood_id": list(self._asked), "value": list(self._asked.values())},
            schema={"likelihood_id": pl.String, "value": pl.Float64},
        )
        self.tables.rework(
            values.select("likelihood_id"),
            TABLE,
            author=self.author,
            key="likelihood_id",
            function=lambda rows: rows.join(values, on="likelihood_id").rename(
                {"value": "negative_log_likelihood"}
            ),
            version=VERSION,
            schema=_SCHEMA,
            row_key="likelihood_id",
        )

    def _id(self, model: str, sample: TokenizedSample) -> str:
        told = [VERSION, model, self.precision, sample.answer_start, sample.answer_end]
        document = json.dumps([*told, *sample.tokens])
        return hashlib.sha256(document.encode()).hexdigest()
