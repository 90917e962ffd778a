"""When the weights have read enough: likelihoods that are known, and no weights to read more with.

A model's folder does not exist here, so that a passage whose likelihood nobody knows is an error.
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

from tests.unit.evaluation.served.test_base_scores import NoTables
from twin_assets.checkpoints.samples import TokenizedSample
from twin_assets.evaluation.evaluation_spec import EvaluatedModel, EvaluationSpec
from twin_assets.evaluation.likelihood.likelihoods import LikelihoodCache
from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood, perplexity_ratio
from twin_assets.evaluation.likelihood.sample_likelihoods import (
    LikelihoodSamples,
    LikelihoodsByModel,
)
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.measures import held_out_perplexity
from twin_assets.evaluation.measures.held_out_perplexity import HeldOutPerplexity, is_decided
from twin_assets.evaluation.progress import Clock, ProgressLines
from twin_assets.evaluation.sequential_plan import (
    FIRST,
    LOOKS_LEVEL,
    WHOLE,
    GateStage,
    read_until_decided,
)
from twin_assets.evaluation.statistics import bootstrap
from twin_assets.evaluation.statistics.sequential import plan_looks

BASE = EvaluatedModel("base model", "b", Path("/nowhere/base"))
CANDIDATE = EvaluatedModel("candidate", "c", BASE.base_folder, Path("/nowhere/adapter"))
STABLE = EvaluatedModel("v3", "s", BASE.base_folder, Path("/nowhere/v3"))
BEST = EvaluatedModel("v1", "v", BASE.base_folder, Path("/nowhere/v1"))


def passages(count: int, *, prefix: str = "p") -> tuple[TokenizedSample, ...]:
    chance = random.Random(prefix)
    found: list[TokenizedSample] = []
    for number in range(count):
        tokens = (*(chance.randrange(9000) for _ in range(100)), number)
        found.append(
            TokenizedSample(f"{prefix}{number}", f"{prefix}/d{number}", tokens, 20, len(tokens))
        )
    return tuple(found)


@dataclass
class Place:
    """What former gates have read: `known` passages of the held-out ones, of each model."""

    count: int
    known: int
    gains: dict[str, float]
    noise: float = 0.04
    lines: list[str] = field(default_factory=list[str])
    clock: Clock = field(default_factory=Clock)

    def read(
        self,
        *,
        incumbent: EvaluatedModel | None = None,
        best: EvaluatedModel | None = None,
        stage: GateStage = WHOLE,
    ) -> tuple[LikelihoodsByModel, HeldOutPerplexity]:
        held_out, general = passages(self.count), passages(5, prefix="g")
        reading = LikelihoodSamples(
            held_out, held_out, own=(), other=(), general=general, held_out_count=self.count
        )
        question = EvaluationSpec(
            checkpoint="c", candidate=CANDIDATE, base=BASE, incumbent=incumbent, best=best,
            template="t", dataset=pl.DataFrame(), dataset_version="d", trained_on=frozenset(),
            token_budget=1, questions=30,
        )  # fmt: skip
        stored = LikelihoodCache(MeasurementCache(NoTables(), "ada"), "fp32")  # pyright: ignore[reportArgumentType]
        for model in (BASE, CANDIDATE, STABLE, BEST):
            samples = [*held_out[: self.known], *general]
            stored.get_or_compute(
                model.weights, samples, lambda some, model=model: self._of(model, some)
            )
        read = read_until_decided(
            reading,
            question,
            stage,
            likelihood_cache=stored,
            clock=self.clock,
            progress=ProgressLines(self.lines.append),
        )
        return read, held_out_perplexity.compare_perplexities(question, read)

    def _of(self, model: EvaluatedModel, samples: list[TokenizedSample]) -> AnswerLikelihood:
        chance = random.Random(model.name)
        gain = self.gains.get(model.name, 0.0)
        tokens = [sample.answer_tokens - 1 for sample in samples]
        nats = [count * (3.0 - gain + chance.gauss(0.0, self.noise)) for count in tokens]
        return AnswerLikelihood(tuple(nats), tuple(tokens))


def test_thirty_passages_decide_a_candidate_that_is_clearly_better() -> None:
    place = Place(count=57, known=30, gains={"candidate": 0.2})

    read, found = place.read()

    assert found.base is not None
    assert (found.passages, found.base.passages, found.base.level) == (57, 30, 0.99)
    assert found.base.high < 1.0
    assert len(read.samples.held_out) == len(read.samples.held_out_for_incumbent) == 30
    told = held_out_perplexity.MEASURE.claims[0].decide(found)
    assert told.passed is True
    assert "(99 %: " in told.detail
    assert told.detail.endswith("on 30 of 57 passages")
    assert place.lines[-1] == "perplexity: 30 of 57 passages read"


def test_a_first_verdict_looks_at_fifteen_passages() -> None:
    _, found = Place(count=57, known=15, gains={"candidate": 0.2}).read(stage=FIRST)

    assert found.base is not None
    assert (found.base.passages, found.base.level) == (15, 0.99)
    assert held_out_perplexity.MEASURE.claims[0].decide(found).passed is True


def test_one_that_is_clearly_worse_is_refused_after_thirty() -> None:
    _, found = Place(count=57, known=30, gains={"candidate": -0.2}).read()

    assert found.base is not None
    assert (found.base.passages, found.base.low > 1.0) == (30, True)
    assert held_out_perplexity.MEASURE.claims[0].decide(found).passed is False


def test_what_is_like_its_base_is_read_to_the_end_at_the_level_that_is_left() -> None:
    place = Place(count=57, known=57, gains={}, noise=0.2)
    _, found = place.read()
    assert found.base is not None
    assert (found.base.passages, found.base.level) == (57, pytest.approx(0.96))

    _, found = Place(count=90, known=90, gains={}, noise=0.2).read()
    assert found.base is not None
    assert (found.base.passages, found.base.level) == (90, pytest.approx(0.97))
    read = [line for line in place.lines if line.startswith("base model")]
    assert len(read) == 2, "a look each"


def test_a_passage_that_nobody_has_read_is_read_only_where_it_is_needed() -> None:
    with pytest.raises(Exception, match="nowhere"):
        Place(count=57, known=30, gains={}, noise=0.2).read()


def test_all_passages_are_one_look_where_there_are_no_more_than_thirty() -> None:
    _, found = Place(count=30, known=30, gains={"candidate": 0.2}).read()

    assert found.base is not None
    assert (found.base.passages, found.base.level) == (30, 0.95)
    assert held_out_perplexity.MEASURE.claims[0].decide(found).detail.endswith("on 30 passages")


def test_too_few_passages_are_not_read_and_decide_nothing() -> None:
    read, found = Place(count=0, known=0, gains={}).read()

    assert (found.base, found.perplexity) == (None, None)
    assert read.likelihoods.keys() == {"base model", "candidate"}, "the instructions were"


@pytest.mark.parametrize(("stable", "best", "end"), [
    (0.0, 0.0, 30),  # better than either by .2
    (0.4, 0.0, 30),  # worse than the stable one by .2
    (0.17, 0.0, 57),  # met, but a release without a trial asks for an end at 1
    (0.0, 0.4, 30), (0.0, 0.23, 57),
])  # fmt: skip
def test_released_versions_are_told_apart_as_well(stable: float, best: float, end: int) -> None:
    gains = {"candidate": 0.2, "v3": stable, "v1": best}
    place = Place(count=57, known=end, gains=gains, noise=0.14)

    _, found = place.read(incumbent=STABLE, best=BEST)

    assert found.incumbent is not None
    assert found.best is not None
    assert {found.base and found.base.passages, found.incumbent.passages, found.best.passages} == {
        end
    }
    if end == 30:
        told = held_out_perplexity.MEASURE.claims[1].decide(found)
        assert told.passed is (max(stable, best) < 0.2)
        assert told.detail.endswith("on 30 of 57 passages")


def test_what_is_no_number_decides_nothing() -> None:
    _, found = Place(count=57, known=57, gains={"candidate": math.nan}).read()

    assert not is_decided(found)
    assert held_out_perplexity.MEASURE.claims[0].decide(found).passed is False


def test_an_interval_that_ends_between_the_two_limits_is_open_beside_the_stable_version_alone() -> (
    None
):
    _, found = Place(count=57, known=30, gains={"candidate": 0.2}).read()
    assert found.base is not None
    between = replace(found.base, ratio=1.0, low=0.98, high=1.02)

    assert is_decided(replace(found, best=between))
    assert not is_decided(replace(found, incumbent=between))


@pytest.mark.parametrize("stage", [FIRST, WHOLE])
def test_looks_together_are_wrong_as_rarely_as_one_interval(
    stage: GateStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A candidate like its base, 90 passages, looked at as the gate does: claims met in vain."""
    # the same draws of as many passages, which take longer than all else
    monkeypatch.setattr(bootstrap, "resample_weights", functools.cache(bootstrap.resample_weights))
    chance = np.random.default_rng(7)
    met, draws = 0, 1000
    for _ in range(draws):
        tokens = chance.integers(60, 180, 90)
        nats = tokens * chance.normal(0.0, 0.15, 90)
        counts = tuple(int(count) for count in tokens)
        mine, base = AnswerLikelihood(tuple(nats), counts), AnswerLikelihood((0.0,) * 90, counts)
        for end, spent in plan_looks(90, stage.looks, level=LOOKS_LEVEL):
            ratio = perplexity_ratio(_first(mine, end), _first(base, end), level=1.0 - spent)
            if ratio.high < 1.0 or ratio.low > 1.0:
                met += ratio.high < 1.0
                break
    assert met / draws <= 0.025 + 0.01, "two standard errors of 1,000 draws"


def _first(whole: AnswerLikelihood, end: int) -> AnswerLikelihood:
    return AnswerLikelihood(whole.negative_log_likelihoods[:end], whole.tokens[:end])
