"""What is read off the weights: likelihoods of held-out, control and general answers, of options.

Scope: which samples each compared model reads, all of them in one loading of it.
Out of scope: choosing passages (`held_out.py`, `author_control.py`), when enough of them
were read (`sequential_plan.py`), computing a likelihood (`perplexity.py`), what served models say
(`served_answers.py`), comparing and thresholds (`measures/`).

Base and candidate read everything, the incumbent and the best version ever the held-out passages
alone, the adapter of other authors the author's side of the control. What a former gate has read of
base, incumbent and that adapter is not read again (`likelihoods.py`).

An incumbent of another base model reads the passages in its own tokens (those of another tokenizer
are no text to it, or beyond its vocabulary). What is compared is the likelihood of the whole
answers, so both perplexities are per token of the candidate's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_assets.checkpoints.samples import TokenizedSample, tokenize_samples
from twin_assets.evaluation.likelihood import perplexity
from twin_assets.evaluation.likelihood.likelihoods import Likelihoods
from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood
from twin_assets.evaluation.progress import Clock, ProgressLines, read_s
from twin_assets.evaluation.statistics.bootstrap import LEVEL

if TYPE_CHECKING:
    from twin_assets.evaluation.evaluation_spec import EvaluatedModel

MAX_TOKENS = 2048  # of a sample
PARTS = ("held_out", "own", "other", "general", "choices")  # in the order in which they are read


@dataclass(frozen=True)
class LikelihoodSamples:
    """Samples that the models read.

    Attributes:
        held_out: the author's passages as production asks for them; empty: too few of them.
        of_incumbent: the same passages in the tokens of the incumbent's base model.
        own, other: the control's, of the author and of others.
        general: instructions that have nothing to do with the author.
        choices: the options of common questions, each as an answer.
        found: held-out passages that there are, also when they are too few to be read.
        others: who wrote `other`.
    """

    held_out: tuple[TokenizedSample, ...] = field(repr=False)
    of_incumbent: tuple[TokenizedSample, ...] = field(repr=False)
    own: tuple[TokenizedSample, ...] = field(repr=False)
    other: tuple[TokenizedSample, ...] = field(repr=False)
    general: tuple[TokenizedSample, ...] = field(repr=False)
    found: int
    others: tuple[str, ...] = ()
    choices: tuple[TokenizedSample, ...] = field(default=(), repr=False)

    def everything(self) -> list[TokenizedSample]:
        return [sample for part in PARTS for sample in getattr(self, part)]

    def first(self, passages: int) -> LikelihoodSamples:
        """With the first of the held-out passages alone."""
        held_out, theirs = self.held_out[:passages], self.of_incumbent[:passages]
        return replace(self, held_out=held_out, of_incumbent=theirs)


@dataclass(frozen=True)
class LikelihoodsByModel:
    """Likelihoods by model; those of released versions are of the held-out passages alone, those of
    the adapter of other authors of `own` alone.

    Attributes:
        reading: what was read; `likelihoods`: of it, by a model's name.
        level: of intervals over the held-out passages; more than .95 where they were looked at
            before all of them were read.
    """

    reading: LikelihoodSamples
    likelihoods: Mapping[str, AnswerLikelihood] = field(repr=False)
    level: float = LEVEL

    def held_out(self, name: str) -> AnswerLikelihood | None:
        """By the candidate's tokens, whatever the model's own are; None with too few passages."""
        mine = self.reading.held_out
        if not mine:
            return None
        return AnswerLikelihood(
            self.likelihoods[name].negative_log_likelihoods[: len(mine)],
            tuple(sample.answer_tokens - 1 for sample in mine),
        )

    def part(self, name: str, part: str) -> AnswerLikelihood:
        """Of one of `PARTS`, by a model that has read everything."""
        start = 0
        for one in PARTS:
            end = start + len(getattr(self.reading, one))
            if one == part:
                whole = self.likelihoods[name]
                return AnswerLikelihood(
                    whole.negative_log_likelihoods[start:end], whole.tokens[start:end]
                )
            start = end
        raise ValueError(f"{part} is none of {', '.join(PARTS)}")


def documents_of(samples: Sequence[TokenizedSample]) -> list[str]:
    """What each sample is of."""
    return [sample.document_id for sample in samples]


def read_by(
    reading: LikelihoodSamples,
    *,
    base: EvaluatedModel,
    candidate: EvaluatedModel,
    incumbent: EvaluatedModel | None,
    best: EvaluatedModel | None = None,
    reference: EvaluatedModel | None = None,
    stored: Likelihoods,
    clock: Clock,
    progress: ProgressLines,
    level: float = LEVEL,
    announced: Counter[str] | None = None,
) -> LikelihoodsByModel:
    """Let every model read what it has to and nobody has read yet.

    Args:
        best, reference: have the candidate's base model.
        level: of the intervals.
        announced: how many samples each model was said to read; more are added to it.
    """
    announced = Counter() if announced is None else announced
    by_sample: dict[str, AnswerLikelihood] = {}
    wanted = [
        (subject, samples, len(stored.unknown(subject.weights, samples)))
        for subject, samples in _read_by_each(reading, base, candidate, incumbent, best, reference)
        if samples
    ]
    for subject, _, unknown in wanted:
        part = reading_of(subject)
        announced[part] += unknown
        progress.expect(part, announced[part], each_s=read_s(stored.precision))
    for subject, samples, unknown in wanted:
        started = clock.seconds.get(reading_of(subject), 0.0)
        with clock.part(reading_of(subject)):
            by_sample[subject.name] = likelihoods_of(
                subject, samples, stored=stored, progress=progress
            )
        seconds = clock.seconds[reading_of(subject)] - started
        progress.say(f"{subject.name}: {unknown} answers read in {seconds:.1f} s")
    return LikelihoodsByModel(reading, by_sample, level)


def _read_by_each(
    reading: LikelihoodSamples,
    base: EvaluatedModel,
    candidate: EvaluatedModel,
    incumbent: EvaluatedModel | None,
    best: EvaluatedModel | None,
    reference: EvaluatedModel | None,
) -> list[tuple[EvaluatedModel, list[TokenizedSample]]]:
    """Each model that there is, with its samples."""
    everything = reading.everything()
    wanted = (
        (base, everything),
        (candidate, everything),
        (incumbent, list(reading.of_incumbent)),
        (best, list(reading.held_out)),
        (reference, list(reading.own)),
    )
    return [(model, samples) for model, samples in wanted if model is not None]


class Tokenizing:
    """Turns rows into samples with one base model's tokenizer; counts what is left out."""

    def __init__(self, base_folder: Path) -> None:
        from transformers import AutoTokenizer

        self._tokenizer: Any = AutoTokenizer.from_pretrained(base_folder)
        self.left_out: Counter[str] = Counter()

    def of(self, rows: Sequence[Mapping[str, Any]]) -> list[TokenizedSample]:
        samples, left_out = tokenize_samples(rows, self._tokenizer, max_length=MAX_TOKENS)
        self.left_out += left_out
        return samples


def likelihoods_of(
    subject: EvaluatedModel,
    samples: Sequence[TokenizedSample],
    *,
    stored: Likelihoods,
    progress: ProgressLines,
) -> AnswerLikelihood:
    """Likelihoods of a model; it is loaded only for those that are not known."""
    return stored.of(
        subject.weights,
        samples,
        lambda missing: _compute(subject, missing, stored.precision, progress),
    )


def reading_of(subject: EvaluatedModel) -> str:
    """The part of a progress in which a model reads."""
    return f"likelihoods of {subject.name}"


def _compute(
    subject: EvaluatedModel,
    samples: Sequence[TokenizedSample],
    precision: str,
    progress: ProgressLines,
) -> AnswerLikelihood:
    model = perplexity.load_model(subject.base_folder, subject.adapter_folder, precision=precision)
    return perplexity.answer_likelihood(model, samples, advance=progress.of(reading_of(subject)))
