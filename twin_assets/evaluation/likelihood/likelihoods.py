"""Cache the likelihoods of answers, so that each is computed once per model and sample.

Scope: the key of a likelihood. Out of scope: computing one (`perplexity.py`), storing it
(`measurement_cache.py`), choosing passages and models (`measurement.py`).

A likelihood belongs to a model, a tokenized sample and a precision. In bf16, its rounding depends
slightly on the batch. The effect is orders of magnitude smaller than the interval over passages.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twin_assets.checkpoints.samples import TokenizedSample
from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood
from twin_assets.evaluation.measurement_cache import MeasurementCache

VERSION = "1"  # increases when the results of `perplexity.answer_likelihood` change

ComputeLikelihoods = Callable[[list[TokenizedSample]], AnswerLikelihood]


@dataclass(frozen=True)
class LikelihoodCache:
    """Cached likelihoods of answers, for one author.

    Attributes:
        precision: `bf16` or `fp32`; each precision has its own stored likelihoods.
    """

    cache: MeasurementCache
    precision: str

    def find_missing(self, model: str, samples: Sequence[TokenizedSample]) -> list[TokenizedSample]:
        """Return the samples without a stored likelihood for a model."""
        return [
            samples[position] for position in self.cache.find_missing(self._keys(model, samples))
        ]

    def get_or_compute(
        self, model: str, samples: Sequence[TokenizedSample], compute: ComputeLikelihoods
    ) -> AnswerLikelihood:
        """Return the likelihoods of all samples, and compute only the missing likelihoods.

        Args:
            model: hash of the model's weights.
            compute: function for samples without a stored likelihood; not called if there are none.
        """
        likelihoods = self.cache.get_or_compute(
            self._keys(model, samples),
            lambda missing: (
                compute([samples[position] for position in missing]).negative_log_likelihoods
            ),
        )
        return AnswerLikelihood(
            tuple(likelihoods), tuple(sample.answer_tokens - 1 for sample in samples)
        )

    def _keys(self, model: str, samples: Sequence[TokenizedSample]) -> list[str]:
        return [self._key(model, sample) for sample in samples]

    def _key(self, model: str, sample: TokenizedSample) -> str:
        parts = [VERSION, model, self.precision, sample.answer_start, sample.answer_end]
        document = json.dumps(["likelihood", *parts, *sample.tokens])
        return hashlib.sha256(document.encode()).hexdigest()
