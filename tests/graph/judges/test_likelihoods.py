"""Test that a gate run computes only the likelihoods that no earlier run computed."""

from __future__ import annotations

from twin_assets.checkpoints.samples import TokenizedSample
from twin_assets.evaluation.likelihood.likelihoods import LikelihoodCache
from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood
from twin_assets.evaluation.measurement_cache import TABLE, MeasurementCache
from twin_resources.storage.tables.tables import Tables


def make_sample(number: int, *, answer_start: int = 2) -> TokenizedSample:
    tokens = (1, 2, number, number + 1, 0)
    return TokenizedSample(f"s{number}", "d", tokens, answer_start, len(tokens))


class FakeModel:
    """A model that records its samples and derives its likelihoods from the tokens."""

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.sample_ids: list[str] = []

    def compute(self, samples: list[TokenizedSample]) -> AnswerLikelihood:
        self.sample_ids += [sample.sample_id for sample in samples]
        return AnswerLikelihood(
            tuple(self.factor * sample.tokens[2] for sample in samples),
            tuple(sample.answer_tokens - 1 for sample in samples),
        )


def run_gate(
    tables: Tables, models: dict[str, FakeModel], sample_numbers: range
) -> dict[str, AnswerLikelihood]:
    measurements = MeasurementCache(tables, "ada")
    cache = LikelihoodCache(measurements, "bf16")
    samples = [make_sample(number) for number in sample_numbers]
    values = {
        name: cache.get_or_compute(name, samples, model.compute) for name, model in models.items()
    }
    measurements.store()
    return values


def test_only_the_new_model_and_the_new_passage_are_computed(tables: Tables) -> None:
    base, first, second = FakeModel(1.0), FakeModel(0.5), FakeModel(0.25)
    run_gate(tables, {"base": base, "v1": first}, range(3))
    computed = run_gate(tables, {"base": base, "v2": second, "v1": first}, range(4))
    assert base.sample_ids == first.sample_ids == ["s0", "s1", "s2", "s3"]
    assert second.sample_ids == ["s0", "s1", "s2", "s3"]
    assert computed["base"].negative_log_likelihoods == (0.0, 1.0, 2.0, 3.0)
    assert computed["v1"].negative_log_likelihoods == (0.0, 0.5, 1.0, 1.5)
    assert computed["v1"].token_counts == (2, 2, 2, 2)


def test_unused_likelihoods_are_deleted(tables: Tables) -> None:
    run_gate(tables, {"base": FakeModel(1.0), "v1": FakeModel(0.5)}, range(3))
    run_gate(tables, {"base": FakeModel(1.0), "v2": FakeModel(0.5)}, range(2))
    assert tables.read(TABLE, "ada").height == 4


def test_another_precision_span_or_context_is_another_likelihood(tables: Tables) -> None:
    run_gate(tables, {"base": FakeModel(1.0)}, range(1))
    assert LikelihoodCache(MeasurementCache(tables, "ada"), "fp32").find_missing(
        "base", [make_sample(0)]
    ) == [make_sample(0)]
    cache = LikelihoodCache(MeasurementCache(tables, "ada"), "bf16")
    assert cache.find_missing("base", [make_sample(0)]) == []
    for other in (make_sample(0, answer_start=3), make_sample(1)):
        assert cache.find_missing("base", [other]) == [other]
    assert LikelihoodCache(MeasurementCache(tables, "bob"), "bf16").find_missing(
        "base", [make_sample(0)]
    ) == [make_sample(0)]


def test_likelihoods_and_other_measurements_share_a_table(tables: Tables) -> None:
    def run_gate_with_scores(names: list[str]) -> tuple[list[float], list[int]]:
        cache, computed = MeasurementCache(tables, "ada"), list[int]()

        def compute(missing: list[int]) -> list[float]:
            computed.extend(missing)
            return [float(len(names[position])) for position in missing]

        likelihoods = LikelihoodCache(cache, "bf16")
        likelihoods.get_or_compute("base", [make_sample(0)], FakeModel(1.0).compute)
        values = cache.get_or_compute(names, compute)
        cache.store()
        return values, computed

    assert run_gate_with_scores(["a", "bb"]) == ([1.0, 2.0], [0, 1])
    assert run_gate_with_scores(["bb", "ccc", "a"]) == ([2.0, 3.0, 1.0], [1])
    assert MeasurementCache(tables, "ada").find_missing(["a", "d"]) == [1]
    assert tables.read(TABLE, "ada").height == 4
