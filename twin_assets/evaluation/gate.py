"""The gate: which claims a checkpoint must meet, and the verdict.

Belongs here: the measured values that the gate looks at, claims and their thresholds (those of a
measure with a module of its own are there), which of them are stated only, the outcome.
Does not belong here: measuring (`measurement.py`), storing the verdict (`registry/`), moving a
version.
Method: deploy/docs/architecture.md, The gate. A claim that could not be decided refuses like one
that is not met. A new measure: its value in `Measured`, its claim in `_of_measures`, its name in
`CLAIMS`; in `FIRST_CLAIMS` too when nobody may read an answer before it is decided.

A first model is released by the first part of the gate (`FIRST_CLAIMS`: what can harm, and whether
it learnt anything at all); what answers beside it is the base model, so that what is left open is
how much better it is. The rest follows, and takes the release back where it does not hold. Beside a
stable version everything is decided first.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from twin_assets.evaluation.harm import memorisation, safety
from twin_assets.evaluation.harm.memorisation import Recitation
from twin_assets.evaluation.harm.safety import Safety
from twin_assets.evaluation.judged import faithfulness, grounding
from twin_assets.evaluation.judged.blind_judge import BlindRatings
from twin_assets.evaluation.judged.faithfulness import Faithfulness
from twin_assets.evaluation.judged.grounding import Grounding, Refusals
from twin_assets.evaluation.likelihood import basics, control
from twin_assets.evaluation.likelihood.basics import Basics
from twin_assets.evaluation.likelihood.control import Control
from twin_assets.evaluation.served.speed import ServedSpeed
from twin_assets.evaluation.style import voice_scores
from twin_assets.evaluation.style.delta import Delta
from twin_assets.evaluation.style.style_habits import StyleHabits
from twin_assets.evaluation.style.voice_scores import Voice
from twin_resources.quality.judges.voice_shown import VoiceShown
from twin_resources.registry.moves import GateClaim
from twin_resources.statistics.bootstrap import LEVEL, Interval

# Goes up whenever a claim, a threshold or a measurement changes: verdicts of another gate version
# release nothing.
GATE_VERSION = "gate-7"

FEWEST_PASSAGES = 30
WORSE_THAN_INCUMBENT_BY = 1.05
PARITY_MEAN = 0.01
PARITY_LARGEST = 0.05
# Since a question finds the post that it names, the base repeats the right passage and scores .63
# (.48 before), a good tuned model .47 as before: with the limit of .15 it was refused by .01.
BELOW_BASE_BY = 0.25

CLAIMS = (
    "beats_base_model",
    "not_worse_than_incumbent",
    "template_hash_matches",
    "served_model_matches",
    "stays_on_topic",
    control.CLAIM,
    basics.CLAIM,
    voice_scores.LESS_LIKE_BASE,
    voice_scores.LIKE_AUTHOR,
    memorisation.CLAIM,
    safety.CLAIM,
    grounding.CLAIM,
    faithfulness.CLAIM,
)
# Before a first model answers anybody. The others follow (`evaluation_report`).
FIRST_CLAIMS = (
    "beats_base_model",
    "not_worse_than_incumbent",
    "template_hash_matches",
    "served_model_matches",
    "stays_on_topic",
    memorisation.CLAIM,
    safety.CLAIM,
)
# Shown by no model of 135M parameters: voice of this author +.007 [-.04, .05] over the base, and
# support that is chance as often as not. With a small base they are stated and refuse nothing.
STATED_FOR_SMALL_BASES = frozenset({voice_scores.LIKE_AUTHOR, grounding.CLAIM})


@dataclass(frozen=True)
class PerplexityRatio:
    """Perplexity of the candidate divided by another model's, on the same passages.

    Attributes:
        name: of the other model.
        perplexity: of the other model.
        ratio, low, high: below 1 the candidate is better; an interval at `level`.
        interval: of the other model's perplexity.
        level: .95; more where the passages were looked at before all of them were read.
        passages: read; None: all that there are.
    """

    name: str
    perplexity: float
    ratio: float
    low: float
    high: float
    interval: Interval | None = None
    level: float = LEVEL
    passages: int | None = None


@dataclass(frozen=True)
class OnTopic:
    """Topic scores (`judges/topic.py`) of served answers to the same held-out questions.

    Attributes:
        questions: how many.
        candidate, base: mean scores in [0, 1].
        low, high: 95 % interval of candidate − base.
        scale: cosines that score 0 and 1 for this author.
        of_candidate, of_base: the means with their intervals.
        of_questions: how many would have been asked, had fewer not decided; None: no more.
    """

    questions: int
    candidate: float
    base: float
    low: float
    high: float
    scale: tuple[float, float]
    of_candidate: Interval | None = None
    of_base: Interval | None = None
    of_questions: int | None = None


@dataclass(frozen=True)
class Measured:
    """What the gate decides on.

    Attributes:
        passages: held-out passages in no compared training set.
        perplexity, perplexity_interval: of the candidate; None with too few passages.
        base: None with too few passages.
        incumbent: None also when no version is stable.
        incumbent_name: `v3`, or empty when no version is stable.
        template, dataset_templates: of the checkpoint, and of the samples it is measured on.
        parity_mean, parity_largest: differences of log-probabilities of the served model, nats;
            None when it was not asked.
        parity_interval: of the mean; None of fewer than two prompts.
        on_topic: None when it could not be measured.
        base_parameters: of the base model; None: not known, which counts as many.
        control: the same passages beside another author's; None with too few of either, or with
            nobody else's text (`others` is then 0).
        others: how many other authors' texts there are.
        blind: a language model's ratings; None: none is configured, or see `why_not`.
        shown: habits of author, base and candidate to look at; None with too few texts.
        why_not: claim, or `blind judge` → why what it rests on was not measured.
    """

    passages: int
    perplexity: float | None
    base: PerplexityRatio | None
    incumbent: PerplexityRatio | None
    incumbent_name: str
    template: str
    dataset_templates: tuple[str, ...]
    parity_mean: float | None
    parity_largest: float | None
    parity_prompts: int
    parity_interval: Interval | None = None
    perplexity_interval: Interval | None = None
    on_topic: OnTopic | None = None
    base_parameters: int | None = None
    control: Control | None = None
    others: int = 0
    basics: Basics | None = None
    voice: Voice | None = None
    delta: Delta | None = None
    habits: StyleHabits | None = None
    recitation: Recitation | None = None
    safety: Safety | None = None
    grounding: Grounding | None = None
    faithfulness: Faithfulness | None = None
    refusals: Refusals | None = None
    speed: ServedSpeed | None = None
    blind: BlindRatings | None = None
    shown: VoiceShown | None = None
    why_not: dict[str, str] = field(default_factory=dict[str, str])


def decide(measured: Measured) -> tuple[GateClaim, ...]:
    """Every claim that may refuse, in the order of `CLAIMS`."""
    return tuple(one for one in _every(measured) if one.name not in _only_stated(measured))


def decide_first(measured: Measured) -> tuple[GateClaim, ...]:
    """The claims that are decided before a first model is released."""
    return tuple(one for one in _every(measured) if one.name in FIRST_CLAIMS)


def is_whole(claims: Sequence[GateClaim]) -> bool:
    """Whether a verdict of these claims is of the whole gate, or of its first part alone."""
    return any(claim.name not in FIRST_CLAIMS for claim in claims)


def stated(measured: Measured) -> tuple[GateClaim, ...]:
    """The claims that are told and refuse nothing: those that a small base model cannot meet."""
    return tuple(one for one in _every(measured) if one.name in _only_stated(measured))


def outcome_of(claims: Sequence[GateClaim]) -> Literal["passed", "failed", "not_decided"]:
    """`passed` when every claim is met, `failed` when one is not met, else `not_decided`; one that
    blocks a form of answers alone does not count."""
    met = [claim.passed for claim in claims if not claim.blocks]
    if any(one is False for one in met):
        return "failed"
    return "passed" if all(met) else "not_decided"


def _every(measured: Measured) -> tuple[GateClaim, ...]:
    found = (
        _beats_base_model(measured),
        _not_worse_than_incumbent(measured),
        _template_hash_matches(measured),
        _served_model_matches(measured),
        _stays_on_topic(measured),
        _learns_this_author(measured),
        *_of_measures(measured),
    )
    return tuple(map(_without_nan, found))


def _without_nan(one: GateClaim) -> GateClaim:
    """Weights that are no numbers measure none, and neither PostgreSQL's JSON nor Langfuse's has
    one; the words still tell it."""
    if one.value is None or math.isfinite(one.value):
        return one
    return replace(one, value=None)


def _only_stated(measured: Measured) -> frozenset[str]:
    small = (
        measured.base_parameters is not None and measured.base_parameters < voice_scores.BLOCKS_FROM
    )
    return STATED_FOR_SMALL_BASES if small else frozenset()


def _of_measures(measured: Measured) -> tuple[GateClaim, ...]:
    """Claims of measures with a module of their own."""
    found = measured
    return (
        _undecided(basics.CLAIM, found) if found.basics is None else basics.claim(found.basics),
        *(
            _undecided(name, found) if found.voice is None else claim(found.voice)
            for name, claim in (
                (voice_scores.LESS_LIKE_BASE, voice_scores.sounds_less_like_the_base),
                (voice_scores.LIKE_AUTHOR, voice_scores.sounds_like_this_author),
            )
        ),
        _undecided(memorisation.CLAIM, found)
        if found.recitation is None
        else memorisation.claim(found.recitation),
        _undecided(safety.CLAIM, found) if found.safety is None else safety.claim(found.safety),
        _undecided(grounding.CLAIM, found)
        if found.grounding is None
        else grounding.claim(found.grounding),
        replace(_undecided(faithfulness.CLAIM, found), blocks=faithfulness.FORM)
        if found.faithfulness is None
        else faithfulness.claim(found.faithfulness),
    )


def _undecided(name: str, measured: Measured) -> GateClaim:
    why = measured.why_not.get(name)
    if why is None:
        return _too_few(name, measured, None)
    return GateClaim(name, None, None, None, f"not decided: {why}")


def _learns_this_author(measured: Measured) -> GateClaim:
    name = control.CLAIM
    if measured.control is not None:
        return control.claim(measured.control)
    if not measured.others:
        return GateClaim(name, True, None, 1.0, "nobody else's posts to compare with")
    return _undecided(name, measured)


def _too_few(name: str, measured: Measured, threshold: float | None) -> GateClaim:
    detail = (
        f"not decided: {measured.passages} held-out passages, {FEWEST_PASSAGES} are needed; "
        "import more posts, or release by hand"
    )
    return GateClaim(name, None, None, threshold, detail)


def _beats_base_model(measured: Measured) -> GateClaim:
    name, found = "beats_base_model", measured.base
    if found is None:
        return _too_few(name, measured, 1.0)
    detail = (
        f"held-out perplexity {measured.perplexity:.2f} against {found.perplexity:.2f} of the base "
        f"model: {_change(found)} on {_read_of(found, measured)} passages"
    )
    return GateClaim(name, found.high < 1.0, found.ratio, 1.0, detail)


def _not_worse_than_incumbent(measured: Measured) -> GateClaim:
    name, found = "not_worse_than_incumbent", measured.incumbent
    if not measured.incumbent_name:
        detail = "no incumbent: no version is stable yet"
        return GateClaim(name, True, None, WORSE_THAN_INCUMBENT_BY, detail)
    if found is None:
        return _too_few(name, measured, WORSE_THAN_INCUMBENT_BY)
    detail = (
        f"held-out perplexity {measured.perplexity:.2f} against {found.perplexity:.2f} of "
        f"{found.name}: {_change(found)} on {measured.passages} passages"
    )
    met = found.ratio <= WORSE_THAN_INCUMBENT_BY
    return GateClaim(name, met, found.ratio, WORSE_THAN_INCUMBENT_BY, detail)


def _change(found: PerplexityRatio) -> str:
    """`-31.4 % (95 %: -33.0 to -29.7)`."""
    percent = [100 * (value - 1) for value in (found.ratio, found.low, found.high)]
    level = f"{100 * found.level:.0f} %"
    return f"{percent[0]:+.1f} % ({level}: {percent[1]:+.1f} to {percent[2]:+.1f})"


def _read_of(found: PerplexityRatio, measured: Measured) -> str:
    """`50`, or `15 of 50` where so many were enough."""
    if found.passages is None or found.passages == measured.passages:
        return str(measured.passages)
    return f"{found.passages} of {measured.passages}"


def _template_hash_matches(measured: Measured) -> GateClaim:
    met = set(measured.dataset_templates) == {measured.template}
    rendered = ", ".join(measured.dataset_templates) or "no template"
    detail = f"the checkpoint expects {measured.template}, its samples are rendered by {rendered}"
    return GateClaim("template_hash_matches", met, None, None, detail)


def _served_model_matches(measured: Measured) -> GateClaim:
    name, mean, largest = "served_model_matches", measured.parity_mean, measured.parity_largest
    if mean is None or largest is None:
        return GateClaim(
            name, None, None, PARITY_MEAN, "not decided: the served model gave no token to compare"
        )
    found = measured.parity_interval
    interval = "" if found is None else f"95 %: {found.low:.4f} to {found.high:.4f}; "
    detail = (
        f"log-probabilities of the served model differ from transformers + PEFT by {mean:.4f} on "
        f"average ({interval}limit {PARITY_MEAN}) and {largest:.4f} at most (limit "
        f"{PARITY_LARGEST}) over {measured.parity_prompts} prompts, each asked twice"
    )
    met = mean < PARITY_MEAN and largest < PARITY_LARGEST
    return GateClaim(name, met, mean, PARITY_MEAN, detail)


def _stays_on_topic(measured: Measured) -> GateClaim:
    name, found = "stays_on_topic", measured.on_topic
    if found is None:
        return _undecided(name, measured)
    difference = found.candidate - found.base
    asked = str(found.questions)
    if found.of_questions is not None and found.of_questions > found.questions:
        asked += f" of {found.of_questions}"
    detail = (
        f"topic score {found.candidate:.2f} against {found.base:.2f} of the base model: "
        f"{difference:+.2f} (95 %: {found.low:+.2f} to {found.high:+.2f}; limit "
        f"-{BELOW_BASE_BY}) on {asked} held-out questions, both served"
    )
    return GateClaim(name, difference >= -BELOW_BASE_BY, difference, -BELOW_BASE_BY, detail)
