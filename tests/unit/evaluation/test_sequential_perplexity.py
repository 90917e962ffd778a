"""Test when the models stop reading passages.

The likelihoods that they need are stored beforehand. No model folder exists, so a passage without a
stored likelihood is an error.
"""

from __future__ import annotations

import functools
import math
import random
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.unit.evaluation.contexts import make_cache, make_context
from tests.unit.evaluation.test_evaluation_spec import SPEC
from twin_assets.checkpoints.samples import TokenizedSample
from twin_assets.evaluation.evaluation_spec import EvaluatedModel, EvaluationSpec
from twin_assets.evaluation.likelihood.likelihoods import LikelihoodCache
from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood, perplexity_ratio
from twin_assets.evaluation.likelihood.sample_likelihoods import (
    LikelihoodSamples,
    LikelihoodsByModel,
)
from twin_assets.evaluation.measures import held_out_perplexity
from twin_assets.evaluation.measures.held_out_perplexity import is_decided
from twin_assets.evaluation.progress import Clock
from twin_assets.evaluation.sequential_plan import (
    FIRST_VERDICT,
    FULL_GATE,
    LOOKS_LEVEL,
    GateStage,
    read_until_decided,
)
from twin_assets.evaluation.statistics import bootstrap
from twin_assets.evaluation.statistics.bootstrap import Interval
from twin_assets.evaluation.statistics.sequential import plan_looks
from twin_resources.processes.progress_lines import ProgressLines
from twin_resources.registry.moves import GateClaim

BASE = EvaluatedModel("base model", "b", Path("/nowhere/base"))
CANDIDATE = EvaluatedModel("candidate", "c", BASE.base_folder, Path("/nowhere/adapter"))
STABLE = EvaluatedModel("v3", "s", BASE.base_folder, Path("/nowhere/v3"))
BEST = EvaluatedModel("v1", "v", BASE.base_folder, Path("/nowhere/v1"))


def make_passages(count: int, *, prefix: str = "p") -> tuple[TokenizedSample, ...]:
    rng = random.Random(prefix)
    samples: list[TokenizedSample] = []
    for number in range(count):
        tokens = (*(rng.randrange(9000) for _ in range(100)), number)
        samples.append(
            TokenizedSample(f"{prefix}{number}", f"{prefix}/d{number}", tokens, 20, len(tokens))
        )
    return tuple(samples)


@dataclass
class StoredLikelihoods:
    """Likelihoods of `passage_count` held-out passages; `stored_count` of them are stored."""

    passage_count: int
    stored_count: int
    gains: dict[str, float]
    noise: float = 0.04
    lines: list[str] = field(default_factory=list[str])
    clock: Clock = field(default_factory=Clock)

    def read(
        self,
        *,
        incumbent: EvaluatedModel | None = None,
        best: EvaluatedModel | None = None,
        stage: GateStage = FULL_GATE,
    ) -> tuple[LikelihoodsByModel, tuple[GateClaim, GateClaim]]:
        """Return the likelihoods that were read and the claims about them."""
        held_out, general = make_passages(self.passage_count), make_passages(5, prefix="g")
        likelihood_samples = LikelihoodSamples(
            held_out, held_out, general=general, held_out_count=self.passage_count
        )
        spec = EvaluationSpec(
            checkpoint="c", candidate=CANDIDATE, base=BASE, incumbent=incumbent, best=best,
            template="t", dataset=pl.DataFrame(), dataset_version="d", trained_on=frozenset(),
            token_budget=1, max_questions=30,
        )  # fmt: skip
        cache = LikelihoodCache(make_cache(), "fp32")
        for model in (BASE, CANDIDATE, STABLE, BEST):
            samples = [*held_out[: self.stored_count], *general]
            cache.get_or_compute(
                model.weights_id,
                samples,
                lambda batch, model=model: self._draw_likelihood(model, batch),
            )
        likelihoods = read_until_decided(
            likelihood_samples,
            spec,
            stage,
            cache=cache,
            clock=self.clock,
            progress=ProgressLines(self.lines.append),
        )
        context = make_context(spec=spec, likelihoods=likelihoods)
        return likelihoods, held_out_perplexity.decide(context)

    def _draw_likelihood(
        self, model: EvaluatedModel, samples: list[TokenizedSample]
    ) -> AnswerLikelihood:
        rng = random.Random(model.name)
        gain = self.gains.get(model.name, 0.0)
        tokens = [sample.answer_tokens - 1 for sample in samples]
        nats = [count * (3.0 - gain + rng.gauss(0.0, self.noise)) for count in tokens]
        return AnswerLikelihood(tuple(nats), tuple(tokens))


@pytest.mark.parametrize(("passage_count", "end", "gain", "stage", "level"), [
    (57, 30, 0.2, FULL_GATE, 0.99), (57, 30, -0.2, FULL_GATE, 0.99),
    (57, 15, 0.2, FIRST_VERDICT, 0.99), (30, 30, 0.2, FULL_GATE, 0.95),
])  # fmt: skip
def test_the_first_look_decides_a_clear_difference(
    passage_count: int, end: int, gain: float, stage: GateStage, level: float
) -> None:
    stored_likelihoods = StoredLikelihoods(
        passage_count=passage_count, stored_count=end, gains={"candidate": gain}
    )

    likelihoods, (claim, _) = stored_likelihoods.read(stage=stage)

    assert likelihoods.level == level
    assert (
        len(likelihoods.samples.held_out) == len(likelihoods.samples.held_out_for_incumbent) == end
    )
    assert claim.passed is (gain > 0)
    assert f"({100 * level:.0f} %: " in claim.detail
    count_text = f"{end} of {passage_count}" if end < passage_count else str(end)
    assert claim.detail.endswith(f"on {count_text} passages")
    assert stored_likelihoods.lines[-1] == f"perplexity: {end} of {passage_count} passages read"


@pytest.mark.parametrize(("count", "level"), [(57, 0.96), (90, 0.97)])
def test_a_candidate_equal_to_its_base_reads_all_passages(count: int, level: float) -> None:
    stored_likelihoods = StoredLikelihoods(
        passage_count=count, stored_count=count, gains={}, noise=0.2
    )
    likelihoods, _ = stored_likelihoods.read()

    assert len(likelihoods.samples.held_out) == count
    assert likelihoods.level == pytest.approx(level)
    base_lines = [line for line in stored_likelihoods.lines if line.startswith("base model")]
    assert len(base_lines) == (2 if count == 57 else 3), "each look reads the base once"


def test_more_passages_are_read_only_if_they_are_needed() -> None:
    with pytest.raises(Exception, match="nowhere"):
        StoredLikelihoods(passage_count=57, stored_count=30, gains={}, noise=0.2).read()


def test_too_few_passages_are_not_read() -> None:
    likelihoods, (claim, _) = StoredLikelihoods(passage_count=0, stored_count=0, gains={}).read()

    assert claim.passed is None
    assert likelihoods.likelihoods.keys() == {"base model", "candidate"}, (
        "general instructions are still read"
    )


@pytest.mark.parametrize(("stable", "best", "end"), [
    (0.0, 0.0, 30),  # better than both by .2
    (0.4, 0.0, 30),  # worse than the stable version by .2
    (0.17, 0.0, 57),  # met, but a release without a trial needs an interval that ends at 1
    (0.0, 0.4, 30), (0.0, 0.23, 57),
])  # fmt: skip
def test_released_versions_are_compared_too(stable: float, best: float, end: int) -> None:
    gains = {"candidate": 0.2, "v3": stable, "v1": best}
    stored_likelihoods = StoredLikelihoods(
        passage_count=57, stored_count=end, gains=gains, noise=0.14
    )

    likelihoods, (_, claim) = stored_likelihoods.read(incumbent=STABLE, best=BEST)

    assert len(likelihoods.samples.held_out) == end
    if end == 30:
        assert claim.passed is (max(stable, best) < 0.2)
        assert claim.detail.endswith("on 30 of 57 passages")


def test_non_finite_likelihoods_decide_nothing() -> None:
    likelihoods, (claim, _) = StoredLikelihoods(
        passage_count=57, stored_count=57, gains={"candidate": math.nan}
    ).read()

    assert len(likelihoods.samples.held_out) == 57
    assert claim.passed is False


def test_an_interval_between_both_limits_is_open_only_for_the_stable_version() -> None:
    spec = replace(SPEC, incumbent=STABLE, best=BEST)
    better, between = Interval(0.8, 0.78, 0.82), Interval(1.0, 0.98, 1.02)

    assert is_decided(spec, {"base model": better, "v3": better, "v1": between})
    assert not is_decided(spec, {"base model": better, "v3": between, "v1": better})


@pytest.mark.parametrize("stage", [FIRST_VERDICT, FULL_GATE])
def test_several_looks_keep_the_error_rate_of_one(
    stage: GateStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Count the claims that a candidate equal to its base meets by chance."""
    # cached, because drawing the resamples takes most of the time
    monkeypatch.setattr(bootstrap, "resample_weights", functools.cache(bootstrap.resample_weights))
    rng = np.random.default_rng(7)
    win_count, run_count = 0, 1000
    for _ in range(run_count):
        tokens = rng.integers(60, 180, 90)
        nats = tokens * rng.normal(0.0, 0.15, 90)
        counts = tuple(int(count) for count in tokens)
        candidate, base = (
            AnswerLikelihood(tuple(nats), counts),
            AnswerLikelihood((0.0,) * 90, counts),
        )
        for end, error_rate in plan_looks(90, stage.looks, level=LOOKS_LEVEL):
            ratio = perplexity_ratio(
                _select_first_passages(candidate, end),
                _select_first_passages(base, end),
                level=1.0 - error_rate,
            )
            if ratio.high < 1.0 or ratio.low > 1.0:
                win_count += ratio.high < 1.0
                break
    assert win_count / run_count <= 0.025 + 0.01, (
        "more than two standard errors of 1,000 draws above the level"
    )


def _select_first_passages(likelihood: AnswerLikelihood, end: int) -> AnswerLikelihood:
    return AnswerLikelihood(
        likelihood.negative_log_likelihoods[:end], likelihood.token_counts[:end]
    )
