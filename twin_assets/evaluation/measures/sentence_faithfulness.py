"""Whether generated prose says what its passages say, sentence by sentence.

Scope: calibrating a judge of sentences on the author's own, the share of unsupported
sentences with its interval, the claim, its lines in the report.
Out of scope: the judges (`twin_resources/quality/judges/sentence_support.py`,
`entailment.py`), the planted sentences (`planted_sentences.py` there), how whole answers rest on
their passages (`passage_support.py`).

A judge errs, so what it flags is not the share of unsupported sentences. Its two error rates are
measured on planted sentences of other documents than the threshold comes from, and the share is
corrected by them: (flagged − false alarms) / (caught − false alarms), Rogan and Gladen 1978,
https://doi.org/10.1093/oxfordjournals.aje.a112510; the interval carries the uncertainty of all
three, as in Lang and Reiczigel 2014, https://doi.org/10.1016/j.prevetmed.2013.09.015. It holds
as far as a model errs like the plants, which are made by rule. A judge that does not tell right
from wrong decides nothing, and one that is blind to a kind of wrong lets nothing pass.
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
FORM = VOICE  # what it blocks: prose, in every form of answers
# One sentence of five, the whole interval included. Of biographies by a system that retrieves, .28
# of the facts were not supported (Min et al. 2023, https://arxiv.org/abs/2305.14251, table 1).
LIMIT = 0.2
APART = 0.5  # that wrong sentences must be flagged more often than right ones, at the least
OWN_SENTENCES = 160  # planted; half of their documents give the threshold, half the error rates
FEWEST = 20  # sentences to judge, and right ones in either half
MIN_PER_KIND = 10
TAIL = 0.025  # on either side of a 95 % interval
_KINDS = {
    "negated": "negations",
    "number": "changed numbers",
    "name": "changed names",
    "elsewhere": "sentences of other posts",
}


@dataclass(frozen=True)
class ProbeDetection:
    """One kind of planted wrong sentences.

    Attributes:
        kind: of `WRONG_KINDS`.
        flagged: how many the judge finds unsupported.
        apart: flagged − false alarms, with its interval; the lower end at least `APART`: the judge
            sees this kind.
    """

    kind: str
    flagged: Rate
    apart: Interval


@dataclass(frozen=True)
class SentenceCalibration:
    """What a judge of sentences is worth for one author.

    Attributes:
        judge: its name; `revision`.
        threshold: a sentence that scores below it counts as unsupported.
        false_alarms: right sentences that it flags.
        kinds: those of which there were at least `MIN_PER_KIND`.
        caught: mean share flagged of these kinds.
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
        """Kinds of wrong that it was shown and does not see."""
        return tuple(_KINDS[kind.kind] for kind in self.kinds if kind.apart.low < APART)

    @property
    def sentence_cut(self) -> SentenceCut | None:
        """By what single sentences are told apart; None: it cannot tell."""
        return SentenceCut(self.revision, self.threshold) if self.can_tell else None


@dataclass(frozen=True)
class Faithfulness:
    """The sentences of a candidate's answers, held against the passages in their prompts.

    Attributes:
        flagged: sentences that score below the threshold.
        unsupported: the share corrected by the judge's error rates; the flagged one, and 0 to 1,
            where the judge cannot tell.
        served_by: by what a gateway judges each sentence again; None: it cannot tell.
    """

    flagged: Rate
    unsupported: Interval
    calibration: SentenceCalibration
    served_by: SentenceCut | None = None


def calibrate(
    judge: SentenceJudge, passages: Sequence[tuple[str, str]], *, most: int = OWN_SENTENCES
) -> SentenceCalibration | None:
    """The threshold of a judge, and how often it errs.

    Args:
        passages: (document id, text) of the author.

    Returns:
        None with fewer than `FEWEST` right sentences in either half.
    """
    planted = plant_sentences(passages, most=most)
    scores = judge.score([(one.sentence, one.passages) for one in planted])
    return calibrated(judge.name, judge.revision, planted, scores)


def calibrated(
    name: str, revision: str, planted: Sequence[PlantedSentence], scores: Sequence[float]
) -> SentenceCalibration | None:
    """`calibrate` from scores; half of the documents choose the threshold, half the rates."""
    halves: tuple[list[int], list[int]] = ([], [])
    for at, one in enumerate(planted):
        halves[int(digest("half", one.document_id), 16) % 2].append(at)
    first, second = halves
    if any(sum(planted[at].wrong is None for at in half) < FEWEST for half in halves):
        return None
    threshold = _threshold(planted, scores, first)
    kinds: dict[str | None, list[int]] = {}
    for at in second:
        kinds.setdefault(planted[at].wrong, []).append(at)

    def flags(kind: str | None) -> tuple[list[bool], list[Hashable]]:
        of = kinds[kind]
        return [scores[at] < threshold for at in of], [planted[at].document_id for at in of]

    alarms = rate(flags(None)[0])
    of_own = _draws(*flags(None), seed=1)
    tried = [kind for kind in WRONG_KINDS if len(kinds.get(kind, ())) >= MIN_PER_KIND]
    if not tried:
        return None
    drawn = {kind: _draws(*flags(kind), seed=2 + at) for at, kind in enumerate(tried)}
    detections = tuple(
        ProbeDetection(kind, one, _interval(one.share - alarms.share, drawn[kind] - of_own))
        for kind in tried
        for one in [rate(flags(kind)[0])]
    )
    caught = sum(detection.flagged.share for detection in detections) / len(detections)
    together = sum(drawn.values()) / len(drawn)
    return SentenceCalibration(
        judge=name,
        revision=revision,
        threshold=threshold,
        false_alarms=alarms,
        kinds=detections,
        caught=caught,
        apart=_interval(caught - alarms.share, together - of_own),
    )


def claims_of(answered: Sequence[JudgedAnswer]) -> list[tuple[int, str]]:
    """(Position, sentence) of everything that the answers claim.

    Left out are answers that decline, questions, and the last sentence of an answer that was cut
    off behind another.
    """
    claims: list[tuple[int, str]] = []
    for at, one in enumerate(answered):
        if not one.passages or declines(one.answer):
            continue
        spoken = sentences(one.answer)
        if len(spoken) > 1 and not one.answer.rstrip().endswith((".", "!", "?", '"', "”")):
            spoken = spoken[:-1]
        claims += [(at, sentence) for sentence in spoken if not sentence.endswith("?")]
    return claims


def measure_faithfulness(
    judge: SentenceJudge,
    calibration: SentenceCalibration,
    answered: Sequence[JudgedAnswer],
    *,
    documents: Sequence[Hashable],
) -> Faithfulness | None:
    """The share of unsupported sentences in answers; None with fewer than `FEWEST` sentences.

    Args:
        answered: with the passages of their prompts.
        documents: what each question is about; sentences about one are drawn together.
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
    """The share of unsupported sentences behind a share of flagged ones, with its 95 % interval.

    Args:
        groups: drawn as a whole.
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
    """`says_what_the_posts_say`: with 95 % confidence at most one sentence of five is unsupported,
    by a judge that sees every kind of wrong that could be tried."""
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
    """Half way between two scores, where caught − false alarms is largest (Youden 1950); of equal
    ones the lowest, which flags least."""
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
    caught = sum(np.searchsorted(one, cuts) / len(one) for one in by_kind.values()) / len(by_kind)
    return float(cuts[int(np.argmax(caught - np.searchsorted(own, cuts) / len(own)))])


def _draws(flags: Sequence[bool], groups: Sequence[Hashable], *, seed: int) -> Any:
    """What the true share may be: `RESAMPLES` values.

    A bootstrap of none says 0 to 0, so the share is drawn from a beta distribution (Jeffreys'
    prior) of as many sentences as they are worth: sentences of one document are alike, and a
    bootstrap of whole documents says by how much (Kish's design effect).
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
    """The share of unsupported sentences.

    Args:
        own: the author's prose, on which the judge is calibrated.
        of_gateway: the judge that a gateway has, where that is another.
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
    except TwinError as error:  # a model that a person named and that cannot be had
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
