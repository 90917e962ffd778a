"""Decide from the held-out perplexity whether the candidate beats its base and keeps up.

Computing perplexity: `likelihood/perplexity.py`. How many passages are read: `sequential_plan.py`.
"""
# pyright: strict

from __future__ import annotations

from typing import TYPE_CHECKING

from twin_assets.evaluation.likelihood.perplexity import perplexity_ratio
from twin_assets.evaluation.likelihood.sample_likelihoods import document_ids
from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext
from twin_assets.evaluation.statistics.bootstrap import Interval
from twin_resources.registry.moves import MAX_RATIO_TO_INCUMBENT, GateClaim

if TYPE_CHECKING:
    from twin_assets.evaluation.evaluation_spec import EvaluatedModel, EvaluationSpec
    from twin_assets.evaluation.likelihood.sample_likelihoods import LikelihoodsByModel

BEATS_BASE, NOT_WORSE = "beats_base_model", "not_worse_than_incumbent"
INCUMBENT_RATIO_LIMIT = 1.05


def compare_perplexities(
    spec: EvaluationSpec, likelihoods: LikelihoodsByModel
) -> dict[str, Interval]:
    """Return the candidate's perplexity divided by each compared model's, by that model's name.

    Below 1 the candidate is better. The result is empty if there are too few passages.
    """
    passages = likelihoods.samples.held_out
    if not passages:
        return {}
    candidate = likelihoods.get_held_out(spec.candidate.name)
    return {
        model.name: perplexity_ratio(
            candidate,
            likelihoods.get_held_out(model.name),
            documents=document_ids(passages),
            level=likelihoods.level,
        )
        for model in (spec.base, spec.incumbent, spec.best)
        if model is not None
    }


def is_decided(spec: EvaluationSpec, ratios: dict[str, Interval]) -> bool:
    """Return whether the intervals show that further passages would not change any claim.

    If the incumbent's interval ends between `MAX_RATIO_TO_INCUMBENT` and the claim's limit, it
    remains open whether a release needs a trial.
    """
    limit = INCUMBENT_RATIO_LIMIT
    limits = (
        (spec.base, 1.0, 1.0),
        (spec.incumbent, MAX_RATIO_TO_INCUMBENT, limit),
        (spec.best, limit, limit),
    )
    return all(
        ratios[model.name].high < pass_limit or ratios[model.name].low > fail_limit
        for model, pass_limit, fail_limit in limits
        if model is not None and model.name in ratios
    )


def decide(context: MeasureContext) -> tuple[GateClaim, GateClaim]:
    """Decide both claims; the whole interval of each ratio must be within its limit."""
    spec, likelihoods = context.spec, context.likelihoods
    ratios = compare_perplexities(spec, likelihoods)
    undecided = f"not decided: {context.few_passages_reason}"
    beats_base = GateClaim(BEATS_BASE, None, None, 1.0, undecided)
    not_worse = GateClaim(NOT_WORSE, None, None, INCUMBENT_RATIO_LIMIT, undecided)
    released = [model for model in (spec.incumbent, spec.best) if model is not None]
    if not released:
        detail = "no incumbent: no version is stable yet"
        not_worse = GateClaim(NOT_WORSE, True, None, INCUMBENT_RATIO_LIMIT, detail)
    if not ratios:
        return beats_base, not_worse
    read_count, count = len(likelihoods.samples.held_out), likelihoods.samples.held_out_count
    passages = f"{count} passages" if read_count == count else f"{read_count} of {count} passages"
    intro = f"held-out perplexity {likelihoods.get_held_out(spec.candidate.name).perplexity:.2f}"

    def describe(model: EvaluatedModel) -> str:
        perplexity = likelihoods.get_held_out(model.name).perplexity
        change = ratios[model.name].describe_change(likelihoods.level)
        title = "best released version " if model is spec.best else ""
        return f"{title}{model.name} {perplexity:.2f}: {change}"

    base = ratios[spec.base.name]
    detail = f"{intro}, {describe(spec.base)} on {passages}"
    beats_base = GateClaim(BEATS_BASE, base.high < 1.0, base.value, 1.0, detail)
    if released:
        # a release without a trial has a stricter limit on the interval to the stable version
        incumbent = spec.incumbent
        not_worse = GateClaim(
            NOT_WORSE,
            all(ratios[model.name].high <= INCUMBENT_RATIO_LIMIT for model in released),
            ratios[released[0].name].value,
            INCUMBENT_RATIO_LIMIT,
            f"{'; '.join([intro, *map(describe, released)])} on {passages}",
            high=ratios[incumbent.name].high if incumbent else None,
            beside=incumbent.name if incumbent else "",
        )
    return beats_base, not_worse


MEASURE = Measure(
    claims=(
        ClaimRule(
            BEATS_BASE,
            "The held-out perplexity is below the base model's over the whole 95 % interval.",
            is_in_first_verdict=True,
        ),
        ClaimRule(
            NOT_WORSE,
            "The held-out perplexity is at most 5 % above that of the stable version and that of "
            "the best released version, over the whole 95 % interval.",
            is_in_first_verdict=True,
        ),
    ),
    decide=decide,
    needs_no_answers=True,
)
