"""Test the comparison of a candidate with an adapter of other authors."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from tests.unit.evaluation.served.test_base_scores import EmptyTables
from tests.unit.evaluation.test_evaluation_spec import SPEC
from tests.unit.evaluation.test_gate import PASSING_MEASUREMENTS, find_claim, with_fields
from tests.unit.evaluation.test_sequential_perplexity import make_passages
from twin_assets.checkpoints.samples import TokenizedSample
from twin_assets.evaluation.evaluation_spec import EvaluatedModel, ReferenceAdapter
from twin_assets.evaluation.gate import decide_claims, decide_outcome
from twin_assets.evaluation.likelihood import sample_likelihoods
from twin_assets.evaluation.likelihood.likelihoods import LikelihoodCache
from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood
from twin_assets.evaluation.likelihood.sample_likelihoods import LikelihoodSamples
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.measures import author_control, other_authors
from twin_assets.evaluation.measures.other_authors import CLAIM, NO_ADAPTER, OtherAuthorsComparison
from twin_assets.evaluation.progress import Clock, ProgressLines

POSTS = [f"post {number}" for number in range(48)]
ADAPTER = EvaluatedModel("other authors' adapter", "a" * 64, Path("/nowhere"), Path("/nowhere/a"))
REFERENCE = ReferenceAdapter(ADAPTER, ("oona-petrie", "tomas-okafor"))


def compare_models(
    gain: float, adapter_gain: float, *, noise: float = 0.01
) -> OtherAuthorsComparison:
    """Compare models that gain `gain` and `adapter_gain` nats per token over the base.

    Args:
        noise: the standard deviation of both gains between passages.
    """
    generator = np.random.default_rng(11)
    token_counts = tuple(int(count) for count in generator.integers(50, 90, len(POSTS)))
    common = generator.normal(0, 0.2, len(POSTS))  # the gain that a post allows any model

    def draw(mean: float, spread: float) -> AnswerLikelihood:
        gains = mean + common * bool(mean) + generator.normal(0, spread, len(POSTS)) * bool(mean)
        nats = [
            (3.5 - token_gain) * count
            for token_gain, count in zip(gains, token_counts, strict=True)
        ]
        return AnswerLikelihood(tuple(nats), token_counts)

    return other_authors.compare(
        candidate=draw(gain, noise),
        base=draw(0.0, 0.0),
        adapter=draw(adapter_gain, noise),
        documents=POSTS,
        adapter_hash=ADAPTER.weights_id,
        authors=REFERENCE.authors,
    )


@pytest.mark.parametrize(
    ("gain", "adapter_gain", "passed"),
    [
        (0.22, 0.12, True),  # the author's posts taught more than other authors' posts
        (0.12, 0.12, False),  # only the general style of posts
        (0.10, 0.15, False),
        (0.0, 0.12, False),  # untrained
    ],
)
def test_a_candidate_must_gain_more_than_the_adapter(
    gain: float, adapter_gain: float, passed: bool
) -> None:
    comparison = compare_models(gain, adapter_gain)

    claim = other_authors.decide_claim(comparison)

    assert claim.passed is passed
    assert comparison.ratio.value == pytest.approx(np.exp(adapter_gain - gain), rel=0.06)
    assert "oona-petrie, tomas-okafor (aaaaaaaaaaaa)" in claim.detail
    assert "48 passages of the author" in claim.detail


def test_common_traits_of_posts_cancel() -> None:
    """Each gain has an interval of ±.06; their difference on the same posts has one of ±.01."""
    comparison = compare_models(0.16, 0.12)

    assert comparison.candidate_to_base.high - comparison.candidate_to_base.low > 0.07
    assert comparison.ratio.high - comparison.ratio.low < 0.03
    assert comparison.ratio.high < 1.0


def test_the_passages_of_a_post_are_one_observation() -> None:
    comparison = compare_models(0.14, 0.12, noise=0.05)
    token_counts = (70,) * 48
    candidate = AnswerLikelihood(tuple(240.0 + number % 4 for number in range(48)), token_counts)
    adapter = AnswerLikelihood((242.0,) * 48, token_counts)

    def interval_width(documents: list[str]) -> float:
        ratio = other_authors.compare(
            candidate=candidate, base=adapter, adapter=adapter, documents=documents,
            adapter_hash="w", authors=(),
        ).ratio  # fmt: skip
        return ratio.high - ratio.low

    assert interval_width([f"post {number % 4}" for number in range(48)]) > 2 * interval_width(
        POSTS
    )
    assert comparison.adapter_label.startswith("the adapter of oona-petrie")


def test_without_an_adapter_the_claim_is_met() -> None:
    measured = with_fields(PASSING_MEASUREMENTS, beside_other_authors=compare_models(0.22, 0.12))
    assert find_claim(measured, CLAIM).passed
    assert decide_outcome(decide_claims(measured)) == "passed"

    without_adapter = with_fields(
        PASSING_MEASUREMENTS, beside_other_authors=None, why_not={CLAIM: NO_ADAPTER}
    )
    assert find_claim(without_adapter, CLAIM).passed
    assert find_claim(without_adapter, CLAIM).value is None
    assert find_claim(without_adapter, CLAIM).detail.startswith("not measured: there is no adapter")
    assert decide_outcome(decide_claims(without_adapter)) == "passed"

    few_passages = with_fields(
        PASSING_MEASUREMENTS, beside_other_authors=None, why_not={CLAIM: "fewer than 10 passages"}
    )
    assert find_claim(few_passages, CLAIM).passed is None
    assert decide_outcome(decide_claims(few_passages)) == "not_decided"

    not_better = with_fields(PASSING_MEASUREMENTS, beside_other_authors=compare_models(0.12, 0.12))
    assert find_claim(not_better, CLAIM).passed is False
    assert decide_outcome(decide_claims(not_better)) == "failed"


def test_another_adapter_changes_the_inputs_hash() -> None:
    first = replace(SPEC, reference=REFERENCE)
    second = replace(
        SPEC, reference=replace(REFERENCE, model=replace(ADAPTER, weights_id="b" * 64))
    )
    assert (
        len(
            {
                SPEC.inputs_hash("i", "gate-1"),
                first.inputs_hash("i", "gate-1"),
                second.inputs_hash("i", "gate-1"),
            }
        )
        == 3
    )


@dataclass
class ComputedLikelihoods:
    """Computes likelihoods from model names, and records the sample count of each request."""

    requests: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])

    def compute(
        self, evaluated_model: EvaluatedModel, samples: list[TokenizedSample], **_: object
    ) -> AnswerLikelihood:
        self.requests.append((evaluated_model.name, len(samples)))
        nats = tuple(
            float(sum(map(ord, evaluated_model.name)) + sum(sample.tokens[:3]))
            for sample in samples
        )
        return AnswerLikelihood(nats, tuple(sample.answer_tokens - 1 for sample in samples))


def test_the_adapter_reads_only_the_authors_side_of_the_control_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    likelihoods = ComputedLikelihoods()
    monkeypatch.setattr(sample_likelihoods, "_compute", likelihoods.compute)
    own_samples = make_passages(12, prefix="own")
    samples = LikelihoodSamples(
        held_out=make_passages(30), held_out_for_incumbent=(), own=own_samples,
        other=make_passages(11, prefix="other"),
        general=make_passages(3, prefix="general"), held_out_count=30,
    )  # fmt: skip
    cache = LikelihoodCache(MeasurementCache(EmptyTables(), "ada"), "fp32")  # pyright: ignore[reportArgumentType]

    def read_by(candidate: EvaluatedModel) -> sample_likelihoods.LikelihoodsByModel:
        return sample_likelihoods.compute_likelihoods(
            samples,
            replace(SPEC, candidate=candidate, incumbent=None, reference=REFERENCE),
            cache=cache,
            clock=Clock(),
            progress=ProgressLines(print),
        )

    first = read_by(SPEC.candidate)
    read_by(replace(SPEC.candidate, name="candidate two", weights_id="d"))

    assert likelihoods.requests == [
        ("base model", 56), ("candidate", 56), (ADAPTER.name, 12), ("candidate two", 56),
    ]  # fmt: skip
    assert len(own_samples) >= author_control.MIN_CONTROL_PASSAGES
    adapter, candidate = first.likelihoods[ADAPTER.name], first.get_part("candidate", "own")
    assert adapter.token_counts == candidate.token_counts
    difference = sum(map(ord, ADAPTER.name)) - sum(map(ord, "candidate"))
    pairs = zip(adapter.negative_log_likelihoods, candidate.negative_log_likelihoods, strict=True)
    assert {left - right for left, right in pairs} == {float(difference)}
