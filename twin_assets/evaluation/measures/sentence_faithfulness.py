"""Measure how many generated sentences are not supported by the passages in their prompts.

Scope: calibrating a sentence judge on the author's own sentences, the share of unsupported
sentences with its interval, the claim, its lines in the report.
Out of scope: the judges (`twin_resources/quality/judges/sentence_support.py`,
`entailment.py`), the planted sentences (`planted_sentences.py` there), the support of whole
answers by their passages (`passage_support.py`).

A judge errs, so the share that it flags is not the share of unsupported sentences. Its two error
rates are measured on planted sentences from documents that did not set the threshold. They correct
the share: (flagged − false alarms) / (caught − false alarms), Rogan and Gladen 1978,
https://doi.org/10.1093/oxfordjournals.aje.a112510. The interval carries the uncertainty of all
three, as in Lang and Reiczigel 2014, https://doi.org/10.1016/j.prevetmed.2013.09.015. The
correction assumes that a model errs like the planted sentences, which are made by rule. A judge
that cannot separate right from wrong decides nothing. A judge that misses one kind of error lets
nothing pass.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twin_assets.evaluation.measures.measure import (
    ClaimRule,
    DocumentText,
    Measure,
    MeasureContext,
    NotTaken,
)
from twin_assets.evaluation.measures.passage_support import declines
from twin_assets.evaluation.served.answer_measures import answers_to, with_passages
from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet
from twin_assets.evaluation.statistics.bootstrap import RESAMPLES, Interval, resampled
from twin_assets.evaluation.statistics.rates import Rate, rate, written
from twin_resources.authors.answer_forms import VOICE, SentenceCut
from twin_resources.errors import TwinError
from twin_resources.quality.judges.judge import JudgedAnswer, digest
from twin_resources.quality.judges.planted_sentences import (
    WRONG_KINDS,
    PlantedSentence,
    plant_sentences,
)
from twin_resources.quality.judges.sentence_support import SentenceJudge
from twin_resources.quality.judges.support import sentences
from twin_resources.registry.moves import GateClaim

CLAIM = "says_what_the_posts_say"
FORM = VOICE  # the claim blocks prose, in every form of answers
# One sentence in five, and the whole interval must be below it. A retrieval system left .28 of the
# facts in biographies unsupported (Min et al. 2023, https://arxiv.org/abs/2305.14251, table 1).
LIMIT = 0.2
APART = 0.5  # least difference between the shares flagged of wrong and of right sentences
OWN_SENTENCES = 160  # planted; half of their documents set the threshold, half the error rates
FEWEST = 20  # sentences to judge, and right sentences in each half
MIN_PER_KIND = 10
TAIL = 0.025  # on each side of a 95 % interval
_KINDS = {
    "negated": "negations",
    "number": "changed numbers",
    "name": "changed names",
    "elsewhere": "sentences of other posts",
}


@dataclass(frozen=True)
class ProbeDetection:
    """The judge's result on one kind of planted wrong sentences.

    Attributes:
        kind: one of `WRONG_KINDS`.
        flagged: how many of them the judge finds unsupported.
        apart: flagged − false alarms, with its interval. The judge detects this kind if the lower
            end is at least `APART`.
    """

    kind: str
    flagged: Rate
    apart: Interval


@dataclass(frozen=True)
class SentenceCalibration:
    """The threshold and error rates of a sentence judge for one author.

    Attributes:
        judge: name of the judge.
        revision: revision of the judge.
        threshold: a sentence that scores below it counts as unsupported.
        false_alarms: right sentences that the judge flags.
        kinds: kinds of error with at least `MIN_PER_KIND` planted sentences.
        caught: mean share flagged over these kinds.
        apart: caught − false alarms.
    """

    judge: str
    revision: str
    threshold: float
    false_alarms: Rate
    kinds: tuple[ProbeDetection, ...]
    caught: float
    apart: Interval

    @property
    def can_tell(self) -> bool:
        return self.apart.low >= APART

    @property
    def blind_to(self) -> tuple[str, ...]:
        """Kinds of error that the judge was tested on and does not detect."""
        return tuple(_KINDS[kind.kind] for kind in self.kinds if kind.apart.low < APART)

    @property
    def sentence_cut(self) -> SentenceCut | None:
        """The threshold for single sentences, or None if the judge cannot separate them."""
        return SentenceCut(self.revision, self.threshold) if self.can_tell else None


@dataclass(frozen=True)
class Faithfulness:
    """The support of a candidate's sentences by the passages in their prompts.

    Attributes:
        flagged: sentences that score below the threshold.
        unsupported: the share corrected by the judge's error rates. If the judge cannot separate
            right from wrong, the share flagged with the interval 0 to 1.
        served_by: the threshold by which a gateway judges each sentence again, or None if its
            judge cannot separate right from wrong.
    """

    flagged: Rate
    unsupported: Interval
    calibration: SentenceCalibration
    served_by: SentenceCut | None = None


def calibrate(
    judge: SentenceJudge, passages: Sequence[tuple[str, str]], *, most: int = OWN_SENTENCES
) -> SentenceCalibration | None:
    """Measure the threshold and the error rates of a judge.

    Args:
        passages: (document id, text) of the author.
        most: the number of planted sentences, at most.

    Returns:
        The calibration, or None if either half has fewer than `FEWEST` right sentences.
    """
    planted = plant_sentences(passages, most=most)
    scores = judge.score([(plant.sentence, plant.passages) for plant in planted])
    return calibrated(judge.name, judge.revision, planted, scores)


def calibrated(
    name: str, revision: str, planted: Sequence[PlantedSentence], scores: Sequence[float]
) -> SentenceCalibration | None:
    """Calibrate from scores: half of the documents set the threshold, half the error rates."""
    halves: tuple[list[int], list[int]] = ([], [])
    for at, plant in enumerate(planted):
        halves[int(digest("half", plant.document_id), 16) % 2].append(at)
    first, second = halves
    if any(sum(planted[at].wrong is None for at in half) < FEWEST for half in halves):
        return None
    threshold = _threshold(planted, scores, first)
    kinds: dict[str | None, list[int]] = {}
    for at in second:
        kinds.setdefault(planted[at].wrong, []).append(at)

    def flags(kind: str | None) -> tuple[list[bool], list[Hashable]]:
        positions = kinds[kind]
        documents: list[Hashable] = [planted[at].document_id for at in positions]
        return [scores[at] < threshold for at in positions], documents

    alarms = rate(flags(None)[0])
    own_draws = _draws(*flags(None), seed=1)
    tested = [kind for kind in WRONG_KINDS if len(kinds.get(kind, ())) >= MIN_PER_KIND]
    if not tested:
        return None
    drawn = {kind: _draws(*flags(kind), seed=2 + at) for at, kind in enumerate(tested)}
    detections = tuple(
        ProbeDetection(kind, hits, _interval(hits.share - alarms.share, drawn[kind] - own_draws))
        for kind in tested
        for hits in [rate(flags(kind)[0])]
    )
    caught = sum(detection.flagged.share for detection in detections) / len(detections)
    mean_draws = sum(drawn.values()) / len(drawn)
    return SentenceCalibration(
        judge=name,
        revision=revision,
        threshold=threshold,
        false_alarms=alarms,
        kinds=detections,
        caught=caught,
        apart=_interval(caught - alarms.share, mean_draws - own_draws),
    )


def claims_of(answered: Sequence[JudgedAnswer]) -> list[tuple[int, str]]:
    """Return (position, sentence) of each sentence that an answer claims.

    Answers that decline and questions are left out. The last of several sentences is left out if
    the answer was cut off.
    """
    claims: list[tuple[int, str]] = []
    for at, judged in enumerate(answered):
        if not judged.passages or declines(judged.answer):
            continue
        claimed = sentences(judged.answer)
        if len(claimed) > 1 and not judged.answer.rstrip().endswith((".", "!", "?", '"', "”")):
            claimed = claimed[:-1]
        claims += [(at, sentence) for sentence in claimed if not sentence.endswith("?")]
    return claims


def measure_faithfulness(
    judge: SentenceJudge,
    calibration: SentenceCalibration,
    answered: Sequence[JudgedAnswer],
    *,
    documents: Sequence[Hashable],
) -> Faithfulness | None:
    """Measure the share of unsupported sentences, or return None below `FEWEST` sentences.

    Args:
        answered: the answers with the passages of their prompts.
        documents: the document that each question is about. Sentences about the same document are
            resampled together.
    """
    claims = claims_of(answered)
    if len(claims) < FEWEST:
        return None
    scores = judge.score([(sentence, answered[at].passages) for at, sentence in claims])
    flagged = [score < calibration.threshold for score in scores]
    return Faithfulness(
        flagged=rate(flagged),
        unsupported=corrected(flagged, [documents[at] for at, _ in claims], calibration),
        calibration=calibration,
    )


def corrected(
    flagged: Sequence[bool], groups: Sequence[Hashable], calibration: SentenceCalibration
) -> Interval:
    """Estimate the share of unsupported sentences from the flagged ones, with a 95 % interval.

    Args:
        groups: the group of each sentence. A group is resampled as a whole.
    """
    import numpy as np

    share = sum(flagged) / len(flagged)
    if not calibration.can_tell:
        return Interval(share, 0.0, 1.0)
    chance = np.random.default_rng(9)
    alarms = _beta(chance, calibration.false_alarms.found, calibration.false_alarms.of)
    kinds = [_beta(chance, kind.flagged.found, kind.flagged.of) for kind in calibration.kinds]
    caught: Any = sum(kinds) / len(kinds)
    seen = _draws(flagged, groups, seed=8)
    drawn = np.clip((seen - alarms) / np.maximum(caught - alarms, 1e-6), 0.0, 1.0)
    value = (share - calibration.false_alarms.share) / (
        calibration.caught - calibration.false_alarms.share
    )
    return _interval(min(1.0, max(0.0, value)), drawn)


def claim(faithfulness: Faithfulness) -> GateClaim:
    """Decide `says_what_the_posts_say`.

    It passes if, with 95 % confidence, at most one sentence in five is unsupported. The judge must
    detect every kind of error that it could be tested on.
    """
    calibration, share = faithfulness.calibration, faithfulness.unsupported
    by = f"by {calibration.judge}"
    if not calibration.can_tell:
        detail = (
            f"not decided: {by}, which cannot tell this author's own sentences from wrong ones: "
            f"{calibration.caught:.2f} of the wrong and {calibration.false_alarms.share:.2f} of "
            f"the right are flagged, {calibration.apart.told()} apart, {APART} at least are needed"
        )
        return GateClaim(CLAIM, None, None, LIMIT, detail, blocks=FORM)
    detail = (
        f"{share.value:.2f} of the sentences (95 %: {share.low:.2f} to {share.high:.2f}, limit "
        f"{LIMIT}) are contradicted or not supported by their passages, {by}; flagged "
        f"{written(faithfulness.flagged)}"
    )
    if share.low > LIMIT:
        return GateClaim(CLAIM, False, share.value, LIMIT, detail, blocks=FORM)
    if share.high > LIMIT:
        return GateClaim(CLAIM, None, share.value, LIMIT, f"not decided: {detail}", blocks=FORM)
    if blind := calibration.blind_to:
        why = f"not decided: {detail}; it does not see {' and '.join(blind)}: name TWIN_NLI_MODEL"
        return GateClaim(CLAIM, None, share.value, LIMIT, why, blocks=FORM)
    served_by = faithfulness.served_by
    return GateClaim(CLAIM, True, share.value, LIMIT, detail, blocks=FORM, cut=served_by)


def _threshold(
    planted: Sequence[PlantedSentence], scores: Sequence[float], positions: Sequence[int]
) -> float:
    """Return the midpoint between two scores where caught − false alarms is largest (Youden 1950).

    Of equal midpoints the lowest is used, because it flags least.
    """
    import numpy as np

    by_kind: dict[str | None, Any] = {
        kind: np.sort([scores[at] for at in positions if planted[at].wrong == kind])
        for kind in {planted[at].wrong for at in positions}
    }
    own = by_kind.pop(None)
    values = np.unique([scores[at] for at in positions])
    cuts = (values[1:] + values[:-1]) / 2
    if not len(cuts) or not by_kind:
        return float(values[0])
    caught = sum(np.searchsorted(kind, cuts) / len(kind) for kind in by_kind.values())
    caught = caught / len(by_kind)
    return float(cuts[int(np.argmax(caught - np.searchsorted(own, cuts) / len(own)))])


def _draws(flags: Sequence[bool], groups: Sequence[Hashable], *, seed: int) -> Any:
    """Draw `RESAMPLES` values of the true share.

    A bootstrap of no hits gives 0 to 0, so the share is drawn from a beta distribution (Jeffreys'
    prior) with the effective number of sentences. Sentences of one document are alike; a bootstrap
    of whole documents measures by how much (Kish's design effect).
    """
    import numpy as np

    hits, count = sum(flags), len(flags)
    share, effect = hits / count, 1.0
    if 0 < hits < count:
        weights, _ = resampled(count, groups=groups)
        values = np.array(flags, dtype=np.float64)
        spread = float(((weights @ values) / weights.sum(axis=1)).var())
        effect = max(1.0, spread / (share * (1.0 - share) / count))
    chance = np.random.default_rng(seed)
    return _beta(chance, hits / effect, count / effect)


def _beta(chance: Any, hits: float, of: float) -> Any:
    return chance.beta(hits + 0.5, of - hits + 0.5, size=RESAMPLES)


def _interval(value: float, drawn: Any) -> Interval:
    import numpy as np

    low, high = np.quantile(drawn, [TAIL, 1 - TAIL])
    return Interval(value, float(low), float(high))


def says_what_the_posts_say(
    prompts: PromptSet,
    answers: PromptAnswers,
    own: Sequence[DocumentText],
    judge: SentenceJudge,
    *,
    of_gateway: SentenceJudge | None = None,
) -> Faithfulness | NotTaken:
    """Measure the share of unsupported sentences.

    Args:
        own: the author's prose, on which the judge is calibrated.
        of_gateway: the gateway's judge, if it differs from `judge`.
    """
    positions = with_passages(prompts)
    texts = [(one.document, one.text) for one in own]
    calibration = calibrate(judge, texts)
    if calibration is None:
        few = 2 * FEWEST
        return NotTaken(f"fewer than {few} sentences of the author to calibrate on")
    faithfulness_found = measure_faithfulness(
        judge,
        calibration,
        answers_to(prompts, positions, [answers.candidate[at].text for at in positions]),
        documents=[prompts.documents[at] for at in positions],
    )
    few = f"fewer than {FEWEST} sentences in answers with passages"
    if faithfulness_found is None:
        return NotTaken(few)
    served = calibrate(of_gateway, texts) if of_gateway else calibration
    return replace(faithfulness_found, served_by=served.sentence_cut if served else None)


def _take(context: MeasureContext) -> Faithfulness | NotTaken | None:
    judges = context.known.judges
    of_sentences = judges.of_sentences
    if context.too_few or of_sentences is None:
        return None
    try:
        return says_what_the_posts_say(
            context.asked,
            context.said,
            context.own_texts,
            of_sentences(),
            of_gateway=judges.of_gateway,
        )
    except TwinError as error:  # the model in TWIN_NLI_MODEL cannot be loaded
        return NotTaken(f"{error.found}; {error.next_step}")


MEASURE = Measure(
    name="faithfulness",
    value=Faithfulness,
    take=_take,
    claims=(
        ClaimRule(
            CLAIM,
            "At most one generated sentence of five is contradicted or not supported "
            "by its passages; where not, the version is released for quotations alone.",
            claim,
            blocks=FORM,
        ),
    ),
)
