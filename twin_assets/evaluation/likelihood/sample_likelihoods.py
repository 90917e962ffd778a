"""Compute each model's likelihoods of held-out, control and general answers and of quiz options.

Each model is loaded once. Choosing passages: `held_out.py`, `author_control.py`. When enough of
them have been read: `sequential_plan.py`.

The base model and the candidate read all samples. The incumbent and the best version ever released
read only the held-out passages. Stored likelihoods of the base model and of released versions are
reused (`likelihoods.py`).

An incumbent with a different base model reads the passages in its own tokens, because tokens of a
different tokenizer have no meaning for it. The comparison uses the likelihood of whole answers, so
both perplexities are per token of the candidate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_assets.checkpoints.samples import TokenizedSample, tokenize_samples
from twin_assets.evaluation.likelihood import perplexity
from twin_assets.evaluation.likelihood.likelihoods import LikelihoodCache
from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood
from twin_assets.evaluation.progress import Clock, expected_read_s
from twin_assets.evaluation.statistics.bootstrap import LEVEL
from twin_resources.processes.progress_lines import ProgressLines

if TYPE_CHECKING:
    from twin_assets.evaluation.evaluation_spec import EvaluatedModel, EvaluationSpec

MAX_TOKENS = 2048  # per sample
PARTS = ("held_out", "own", "other", "general", "choices")  # in reading order


@dataclass(frozen=True)
class LikelihoodSamples:
    """Samples that the models read.

    Attributes:
        held_out: the author's passages, with prompts as in production; empty if there are too few.
        held_out_for_incumbent: the same passages in the tokens of the incumbent's base model.
        own, other: control samples of the author and of other people.
        general: instructions that are unrelated to the author.
        choices: the options of quiz questions, each as an answer.
        held_out_count: number of held-out passages, even if there are too few to read.
        other_writers: writers of `other`.
    """

    held_out: tuple[TokenizedSample, ...] = field(default=(), repr=False)
    held_out_for_incumbent: tuple[TokenizedSample, ...] = field(default=(), repr=False)
    own: tuple[TokenizedSample, ...] = field(default=(), repr=False)
    other: tuple[TokenizedSample, ...] = field(default=(), repr=False)
    general: tuple[TokenizedSample, ...] = field(default=(), repr=False)
    choices: tuple[TokenizedSample, ...] = field(default=(), repr=False)
    held_out_count: int = 0
    other_writers: tuple[str, ...] = ()

    def all_samples(self) -> list[TokenizedSample]:
        return [sample for part in PARTS for sample in getattr(self, part)]

    def select_first(self, passage_count: int) -> LikelihoodSamples:
        """Return all samples, but only the first `passage_count` held-out passages."""
        return replace(
            self,
            held_out=self.held_out[:passage_count],
            held_out_for_incumbent=self.held_out_for_incumbent[:passage_count],
        )


@dataclass(frozen=True)
class LikelihoodsByModel:
    """The likelihoods that each compared model gives to its samples.

    Likelihoods of released versions cover only the held-out passages.

    Attributes:
        samples: the samples that the models read.
        likelihoods: likelihoods of the samples, by a model's name.
        level: level of intervals over the held-out passages; above 0.95 after interim looks.
    """

    samples: LikelihoodSamples = field(default_factory=LikelihoodSamples)
    likelihoods: Mapping[str, AnswerLikelihood] = field(
        default_factory=dict[str, AnswerLikelihood], repr=False
    )
    level: float = LEVEL

    def get_held_out(self, name: str) -> AnswerLikelihood:
        """Return a model's likelihoods of the held-out passages.

        The token counts are the candidate's, even for a model with a different tokenizer.
        """
        passages = self.samples.held_out
        return AnswerLikelihood(
            self.likelihoods[name].negative_log_likelihoods[: len(passages)],
            tuple(sample.answer_tokens - 1 for sample in passages),
        )

    def get_part(self, name: str, part: str) -> AnswerLikelihood:
        """Return the likelihoods of one of `PARTS`, for a model that has read all samples."""
        earlier_parts = PARTS[: PARTS.index(part)]
        start = sum(len(getattr(self.samples, earlier_part)) for earlier_part in earlier_parts)
        end = start + len(getattr(self.samples, part))
        likelihood = self.likelihoods[name]
        return AnswerLikelihood(
            likelihood.negative_log_likelihoods[start:end], likelihood.token_counts[start:end]
        )


def document_ids(samples: Sequence[TokenizedSample]) -> list[str]:
    """Return the document id of each sample."""
    return [sample.document_id for sample in samples]


def compute_likelihoods(
    likelihood_samples: LikelihoodSamples,
    spec: EvaluationSpec,
    *,
    cache: LikelihoodCache,
    clock: Clock,
    progress: ProgressLines,
    level: float = LEVEL,
    expected_counts: Counter[str] | None = None,
) -> LikelihoodsByModel:
    """Return every compared model's likelihoods; compute those that are not stored yet.

    Args:
        level: level of the intervals.
        expected_counts: number of samples expected so far per model; this call increases it.
    """
    expected_counts = Counter() if expected_counts is None else expected_counts
    all_samples = likelihood_samples.all_samples()
    likelihoods_by_model: dict[str, AnswerLikelihood] = {}
    model_samples = [
        (evaluated_model, samples, len(cache.find_missing(evaluated_model.weights_id, samples)))
        for evaluated_model, samples in (
            (spec.base, all_samples),
            (spec.candidate, all_samples),
            (spec.incumbent, likelihood_samples.held_out_for_incumbent),
            (spec.best, likelihood_samples.held_out),
        )
        if evaluated_model is not None and samples
    ]
    for evaluated_model, _, missing_count in model_samples:
        progress_part = progress_part_name(evaluated_model)
        expected_counts[progress_part] += missing_count
        progress.expect(
            progress_part,
            expected_counts[progress_part],
            step_s=expected_read_s(cache.precision),
        )
    for evaluated_model, samples, missing_count in model_samples:
        seconds_before = clock.seconds.get(progress_part_name(evaluated_model), 0.0)
        with clock.time_part(progress_part_name(evaluated_model)):
            likelihoods_by_model[evaluated_model.name] = cache.get_or_compute(
                evaluated_model.weights_id,
                samples,
                partial(_compute, evaluated_model, precision=cache.precision, progress=progress),
            )
        seconds = clock.seconds[progress_part_name(evaluated_model)] - seconds_before
        progress.write_line(
            f"{evaluated_model.name}: {missing_count} answers read in {seconds:.1f} s"
        )
    return LikelihoodsByModel(likelihood_samples, likelihoods_by_model, level)


class RowTokenizer:
    """Turns rows into samples with one base model's tokenizer, and leaves out unusable rows."""

    def __init__(self, base_folder: Path) -> None:
        from transformers import AutoTokenizer

        self._tokenizer: Any = AutoTokenizer.from_pretrained(base_folder)

    def tokenize(self, rows: Sequence[Mapping[str, Any]]) -> list[TokenizedSample]:
        return tokenize_samples(rows, self._tokenizer, max_length=MAX_TOKENS)[0]


def progress_part_name(evaluated_model: EvaluatedModel) -> str:
    """Return the name of a model's part in the progress lines."""
    return f"likelihoods of {evaluated_model.name}"


def _compute(
    evaluated_model: EvaluatedModel,
    samples: Sequence[TokenizedSample],
    *,
    precision: str,
    progress: ProgressLines,
) -> AnswerLikelihood:
    model = perplexity.load_model(
        evaluated_model.base_folder, evaluated_model.adapter_folder, precision=precision
    )
    return perplexity.answer_likelihood(
        model, samples, advance=progress.make_step_recorder(progress_part_name(evaluated_model))
    )
