"""Make the inputs of measures: a context without judges, and likelihoods with given ratios."""

from __future__ import annotations

import math
from typing import Any

from tests.unit.evaluation.served.test_base_scores import EmptyTables
from tests.unit.evaluation.test_evaluation_spec import SAMPLES, SPEC
from twin_assets.checkpoints.samples import TokenizedSample
from twin_assets.evaluation.evaluation_spec import JudgingContext
from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood
from twin_assets.evaluation.likelihood.sample_likelihoods import (
    LikelihoodSamples,
    LikelihoodsByModel,
)
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.measures.measure import MeasureContext
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import PromptSet
from twin_assets.evaluation.served.served_judges import Judges
from twin_resources.quality.judges.texts import WriterSample

OTHERS = (WriterSample("tomas", (("a", "A text."),)),)
NO_JUDGES = Judges(None, None, None, "no topic judge", "no voice judge")


def make_cache() -> MeasurementCache:
    return MeasurementCache(EmptyTables(), "mara")  # pyright: ignore[reportArgumentType]


def make_prompts(question_count: int = 0) -> PromptSet:
    """Return prompts with some held-out questions and no others."""
    names = [str(number) for number in range(question_count)]
    prompts = [[{"role": "user", "content": name}] for name in names]
    texts = (names, names, names, [("A passage.",)] * question_count, prompts)
    return PromptSet(*texts, held_out=range(question_count), red_team=range(0), with_posts=range(0))


def make_context(
    prompts: PromptSet | None = None, *, judges: Judges = NO_JUDGES, **fields: Any
) -> MeasureContext:
    """Return a context in which nothing has been read or answered yet."""
    prompts = prompts or make_prompts()
    values = {
        "spec": SPEC,
        "judging_context": JudgingContext(judges, OTHERS, chunk_texts={}, base_answers=()),
        "training": SAMPLES.head(0),
        "prompts": prompts,
        "scores": BaseScores(make_cache(), ["base"], prompts.prompts),
    }
    return MeasureContext(**values | fields)


def make_samples(count: int, prefix: str = "p") -> tuple[TokenizedSample, ...]:
    """Return samples of 10 counted tokens, each of its own document."""
    tokens = tuple(range(12))
    return tuple(
        TokenizedSample(f"{prefix}{number}", f"{prefix}d{number}", tokens, 1, 12)
        for number in range(count)
    )


def make_likelihoods(
    ratios: dict[str, float], *, spread: float = 0.0, read: int = 60, count: int | None = None
) -> LikelihoodsByModel:
    """Return likelihoods in which the candidate's perplexity, 33.12, has these ratios to others'.

    Args:
        ratios: by the other model's name; below 1 the candidate is better.
        spread: nats per token by which the passages differ. An interval reaches
            1.96 × spread / √read to either side of the ratio's logarithm.
        count: number of available passages, or None for `read`.
    """
    samples = LikelihoodSamples(held_out=make_samples(read), held_out_count=count or read)
    nats = {
        name: tuple(
            10 * (3.5 - math.log(ratio) + spread * (1 if number % 2 else -1))
            for number in range(read)
        )
        for name, ratio in ratios.items()
    }
    nats["candidate"] = (35.0,) * read
    return LikelihoodsByModel(
        samples, {name: AnswerLikelihood(values, (10,) * read) for name, values in nats.items()}
    )
