"""The gate: which claims a checkpoint must meet, and the verdict.

Belongs here: the measured values that the gate looks at, thresholds, claims, outcome.
Does not belong here: measuring (`measurement.py`), storing the verdict (`registry/`), moving a
version.
Method: deploy/docs/architecture.md, The gate. A claim that could not be decided refuses like one
that is not met.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from twin_resources.registry.moves import Claim

# Goes up whenever a claim, a threshold or a measurement changes: verdicts of another gate version
# release nothing.
GATE_VERSION = "gate-2"

FEWEST_PASSAGES = 30
WORSE_THAN_INCUMBENT_BY = 1.05
PARITY_MEAN = 0.01
PARITY_LARGEST = 0.05
BELOW_BASE_BY = 0.15  # a model of shuffled pairs was .48 below its base, a good one .12 above

CLAIMS = (
    "beats_base_model",
    "not_worse_than_incumbent",
    "template_hash_matches",
    "served_model_matches",
    "stays_on_topic",
)


@dataclass(frozen=True)
class Comparison:
    """Perplexity of the candidate divided by another model's, on the same passages.

    Attributes:
        name: of the other model.
        perplexity: of the other model.
        ratio, low, high: below 1 the candidate is better; 95 % interval.
    """

    name: str
    perplexity: float
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class OnTopic:
    """Topic scores (`judging/topic.py`) of served answers to the same held-out questions.

    Attributes:
        questions: how many.
        candidate, base: mean scores in [0, 1].
        low, high: 95 % interval of candidate − base.
        scale: cosines that score 0 and 1 for this author.
    """

    questions: int
    candidate: float
    base: float
    low: float
    high: float
    scale: tuple[float, float]


@dataclass(frozen=True)
class Measured:
    """What the gate decides on.

    Attributes:
        passages: held-out passages in no compared training set.
        perplexity: of the candidate; None with too few passages.
        base: None with too few passages.
        incumbent: None also when no version is stable.
        incumbent_name: `v3`, or empty when no version is stable.
        template, dataset_templates: of the checkpoint, and of the samples it is measured on.
        parity_mean, parity_largest: differences of log-probabilities of the served model, nats;
            None when it was not asked.
        on_topic: None when it could not be measured, for the reason `on_topic_why_not`.
    """

    passages: int
    perplexity: float | None
    base: Comparison | None
    incumbent: Comparison | None
    incumbent_name: str
    template: str
    dataset_templates: tuple[str, ...]
    parity_mean: float | None
    parity_largest: float | None
    parity_prompts: int
    on_topic: OnTopic | None = None
    on_topic_why_not: str = ""


def decide(measured: Measured) -> tuple[Claim, ...]:
    """Every claim of the gate, in the order of `CLAIMS`."""
    return (
        _beats_base_model(measured),
        _not_worse_than_incumbent(measured),
        _template_hash_matches(measured),
        _served_model_matches(measured),
        _stays_on_topic(measured),
    )


def outcome_of(claims: Sequence[Claim]) -> Literal["passed", "failed", "not_decided"]:
    """`passed` when every claim is met, `failed` when one is not met, else `not_decided`."""
    if any(claim.passed is False for claim in claims):
        return "failed"
    return "passed" if all(claim.passed for claim in claims) else "not_decided"


def _too_few(name: str, measured: Measured, threshold: float) -> Claim:
    detail = (
        f"not decided: {measured.passages} held-out passages, {FEWEST_PASSAGES} are needed; "
        "import more posts, or release by hand"
    )
    return Claim(name, None, None, threshold, detail)


def _beats_base_model(measured: Measured) -> Claim:
    name, found = "beats_base_model", measured.base
    if found is None:
        return _too_few(name, measured, 1.0)
    detail = (
        f"held-out perplexity {measured.perplexity:.2f} against {found.perplexity:.2f} of the base "
        f"model: {_change(found)} on {measured.passages} passages"
    )
    return Claim(name, found.high < 1.0, found.ratio, 1.0, detail)


def _not_worse_than_incumbent(measured: Measured) -> Claim:
    name, found = "not_worse_than_incumbent", measured.incumbent
    if not measured.incumbent_name:
        detail = "no incumbent: no version is stable yet"
        return Claim(name, True, None, WORSE_THAN_INCUMBENT_BY, detail)
    if found is None:
        return _too_few(name, measured, WORSE_THAN_INCUMBENT_BY)
    detail = (
        f"held-out perplexity {measured.perplexity:.2f} against {found.perplexity:.2f} of "
        f"{found.name}: {_change(found)} on {measured.passages} passages"
    )
    met = found.ratio <= WORSE_THAN_INCUMBENT_BY
    return Claim(name, met, found.ratio, WORSE_THAN_INCUMBENT_BY, detail)


def _change(found: Comparison) -> str:
    """`-31.4 % (95 %: -33.0 to -29.7)`."""
    percent = [100 * (value - 1) for value in (found.ratio, found.low, found.high)]
    return f"{percent[0]:+.1f} % (95 %: {percent[1]:+.1f} to {percent[2]:+.1f})"


def _template_hash_matches(measured: Measured) -> Claim:
    met = set(measured.dataset_templates) == {measured.template}
    rendered = ", ".join(measured.dataset_templates) or "no template"
    detail = f"the checkpoint expects {measured.template}, its samples are rendered by {rendered}"
    return Claim("template_hash_matches", met, None, None, detail)


def _served_model_matches(measured: Measured) -> Claim:
    name, mean, largest = "served_model_matches", measured.parity_mean, measured.parity_largest
    if mean is None or largest is None:
        return Claim(
            name, None, None, PARITY_MEAN, "not decided: the served model gave no token to compare"
        )
    detail = (
        f"log-probabilities of the served model differ from transformers + PEFT by {mean:.4f} on "
        f"average (limit {PARITY_MEAN}) and {largest:.4f} at most (limit {PARITY_LARGEST}) over "
        f"{measured.parity_prompts} prompts, each asked twice"
    )
    met = mean < PARITY_MEAN and largest < PARITY_LARGEST
    return Claim(name, met, mean, PARITY_MEAN, detail)


def _stays_on_topic(measured: Measured) -> Claim:
    name, found = "stays_on_topic", measured.on_topic
    if found is None:
        if measured.on_topic_why_not:
            detail = f"not decided: {measured.on_topic_why_not}"
            return Claim(name, None, None, -BELOW_BASE_BY, detail)
        return _too_few(name, measured, -BELOW_BASE_BY)
    difference = found.candidate - found.base
    detail = (
        f"topic score {found.candidate:.2f} against {found.base:.2f} of the base model: "
        f"{difference:+.2f} (95 %: {found.low:+.2f} to {found.high:+.2f}; limit "
        f"-{BELOW_BASE_BY}) on {found.questions} held-out questions, both served"
    )
    return Claim(name, difference >= -BELOW_BASE_BY, difference, -BELOW_BASE_BY, detail)
