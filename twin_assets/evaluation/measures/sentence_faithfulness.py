"""Measure how many generated sentences are not supported by the passages in their prompts.

Scope: calibrating a sentence judge on the author's own sentences, the share of unsupported
sentences with its interval, and the claim.
Out of scope: the judges (`twin_resources/quality/judges/sentence_support.py`, `entailment.py`), the
planted sentences (`sentence_probes.py` there), and the support of whole answers by their passages
(`passage_support.py`).

A judge makes errors, so the share that it flags is not the share of unsupported sentences. Its two
error rates are measured on planted sentences from documents that did not set the threshold. The
share is corrected with these rates as (flagged − false alarms) / (caught − false alarms), after
Rogan and Gladen 1978, https://doi.org/10.1093/oxfordjournals.aje.a112510. The interval includes the
uncertainty of all three, as in Lang and Reiczigel 2014,
https://doi.org/10.1016/j.prevetmed.2013.09.015. The correction assumes that a model's errors
resemble those of the planted sentences, which are made by rule. A judge that cannot separate right
from wrong sentences decides nothing. If a judge misses one kind of error, no candidate passes.
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
    NotMeasured,
)
from twin_assets.evaluation.measures.passage_support import is_refusal
from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet
from twin_assets.evaluation.served.served_judges import (
    find_positions_with_passages,
    to_judged_answers,
)
from twin_assets.evaluation.statistics.bootstrap import RESAMPLES, Interval, resample_weights
from twin_assets.evaluation.statistics.rates import Rate, compute_rate, format_rate
from twin_resources.authors.answer_forms import VOICE, SentenceThreshold
from twin_resources.errors import TwinError
from twin_resources.quality.judges.judge import JudgedAnswer, digest
from twin_resources.quality.judges.sentence_probes import (
    SENTENCE_ERROR_KINDS,
    ProbeSentence,
    create_probe_sentences,
)
from twin_resources.quality.judges.sentence_support import SentenceJudge
from twin_resources.quality.judges.support import split_sentences
from twin_resources.registry.moves import GateClaim

CLAIM = "says_what_the_posts_say"
BLOCKED_FORM = VOICE  # the claim blocks prose, not the release
# The whole interval must be at or below one sentence in five. In biographies by a retrieval system,
# 0.28 of the facts were unsupported (Min et al. 2023, https://arxiv.org/abs/2305.14251, table 1).
MAX_UNSUPPORTED_SHARE = 0.2
MIN_SEPARATION = 0.5  # smallest difference between the flagged shares of wrong and right sentences
MAX_PLANTED_SENTENCES = 160  # half of their documents set the threshold, half give the error rates
MIN_SENTENCES = 20  # minimum number of sentences to judge, and of right sentences in each half
MIN_PER_KIND = 10
TAIL_PROBABILITY = 0.025  # on each side of a 95 % interval
_KIND_LABELS = {
    "negated": "negations",
    "number": "changed numbers",
    "name": "changed names",
    "elsewhere": "sentences of other posts",
}


@dataclass(frozen=True)
class ProbeDetection:
    """The judge's result on one kind of planted wrong sentences.

    Attributes:
        kind: one of `SENTENCE_ERROR_KINDS`.
        flagged: share of these sentences that the judge finds unsupported.
        apart: flagged − false alarms, with its interval. The judge detects this kind if the lower
            end is at least `MIN_SEPARATION`.
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
        threshold: score below which a sentence counts as unsupported.
        false_alarms: share of right sentences that the judge flags.
        kinds: results for the kinds of error with at least `MIN_PER_KIND` planted sentences.
        caught: mean flagged share over these kinds.
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
    def is_reliable(self) -> bool:
        return self.apart.low >= MIN_SEPARATION

    @property
    def undetected_kinds(self) -> tuple[str, ...]:
        """Kinds of error that the judge was tested on and does not detect."""
        return tuple(
            _KIND_LABELS[kind.kind] for kind in self.kinds if kind.apart.low < MIN_SEPARATION
        )

    @property
    def sentence_threshold(self) -> SentenceThreshold | None:
        """The threshold for single sentences, or None if the judge cannot separate them."""
        return SentenceThreshold(self.revision, self.threshold) if self.is_reliable else None


@dataclass(frozen=True)
class Faithfulness:
    """The support of a candidate's sentences by the passages in their prompts.

    Attributes:
        flagged: share of sentences that score below the threshold.
        unsupported: the share after correction by the judge's error rates. If the judge cannot
            separate right from wrong, it is the flagged share with the interval 0 to 1.
        served_by: the threshold with which a gateway judges each sentence again, or None if its
            judge cannot separate right from wrong.
    """

    flagged: Rate
    unsupported: Interval
    calibration: SentenceCalibration
    served_by: SentenceThreshold | None = None


def calibrate(
    judge: SentenceJudge, passages: Sequence[tuple[str, str]]
) -> SentenceCalibration | None:
    """Measure the threshold and the error rates of a judge.

    Args:
        passages: (document id, text) of each of the author's passages.

    Returns:
        The calibration, or None if there are too few planted sentences.
    """
    probes = create_probe_sentences(passages, max_sentences=MAX_PLANTED_SENTENCES)
    scores = judge.score([(probe.sentence, probe.passages) for probe in probes])
    return calibrate_from_scores(judge.name, judge.revision, probes, scores)


def calibrate_from_scores(
    name: str, revision: str, planted: Sequence[ProbeSentence], scores: Sequence[float]
) -> SentenceCalibration | None:
    """Set the threshold on half of the documents, and measure the error rates on the other half."""
    halves: tuple[list[int], list[int]] = ([], [])
    for index, probe in enumerate(planted):
        halves[int(digest("half", probe.document_id), 16) % 2].append(index)
    threshold_indices, error_rate_indices = halves
    if any(
        sum(planted[index].error_kind is None for index in half) < MIN_SENTENCES for half in halves
    ):
        return None
    threshold = _choose_threshold(planted, scores, threshold_indices)
    kinds: dict[str | None, list[int]] = {}
    for index in error_rate_indices:
        kinds.setdefault(planted[index].error_kind, []).append(index)

    def flags_for_kind(kind: str | None) -> tuple[list[bool], list[Hashable]]:
        indices = kinds[kind]
        documents: list[Hashable] = [planted[index].document_id for index in indices]
        return [scores[index] < threshold for index in indices], documents

    alarm_rate = compute_rate(flags_for_kind(None)[0])
    own_draws = _draw_shares(*flags_for_kind(None), seed=1)
    tested_kinds = [
        kind for kind in SENTENCE_ERROR_KINDS if len(kinds.get(kind, ())) >= MIN_PER_KIND
    ]
    if not tested_kinds:
        return None
    draws_by_kind = {
        kind: _draw_shares(*flags_for_kind(kind), seed=2 + index)
        for index, kind in enumerate(tested_kinds)
    }
    detections = tuple(
        ProbeDetection(
            kind,
            hit_rate,
            _interval(hit_rate.share - alarm_rate.share, draws_by_kind[kind] - own_draws),
        )
        for kind in tested_kinds
        for hit_rate in [compute_rate(flags_for_kind(kind)[0])]
    )
    caught_share = sum(detection.flagged.share for detection in detections) / len(detections)
    mean_draws = sum(draws_by_kind.values()) / len(draws_by_kind)
    return SentenceCalibration(
        judge=name,
        revision=revision,
        threshold=threshold,
        false_alarms=alarm_rate,
        kinds=detections,
        caught=caught_share,
        apart=_interval(caught_share - alarm_rate.share, mean_draws - own_draws),
    )


def extract_claims(judged_answers: Sequence[JudgedAnswer]) -> list[tuple[int, str]]:
    """Return (index of the answer, sentence) for each statement in an answer.

    Questions are left out, as are answers that decline. The last of several sentences is left out
    if the answer does not end with punctuation.
    """
    claims: list[tuple[int, str]] = []
    for index, answer in enumerate(judged_answers):
        if not answer.passages or is_refusal(answer.answer):
            continue
        sentences = split_sentences(answer.answer)
        if len(sentences) > 1 and not answer.answer.rstrip().endswith((".", "!", "?", '"', "”")):
            sentences = sentences[:-1]
        claims += [(index, sentence) for sentence in sentences if not sentence.endswith("?")]
    return claims


def measure_faithfulness(
    judge: SentenceJudge,
    calibration: SentenceCalibration,
    judged_answers: Sequence[JudgedAnswer],
    *,
    documents: Sequence[Hashable],
) -> Faithfulness | None:
    """Measure the share of unsupported sentences; return None below `MIN_SENTENCES` sentences.

    Args:
        judged_answers: the answers with the passages of their prompts.
        documents: the document that each question is about. Sentences about the same document are
            resampled together.
    """
    claims = extract_claims(judged_answers)
    if len(claims) < MIN_SENTENCES:
        return None
    scores = judge.score([(sentence, judged_answers[index].passages) for index, sentence in claims])
    flags = [score < calibration.threshold for score in scores]
    return Faithfulness(
        flagged=compute_rate(flags),
        unsupported=correct_share(flags, [documents[index] for index, _ in claims], calibration),
        calibration=calibration,
    )


def correct_share(
    flags: Sequence[bool], groups: Sequence[Hashable], calibration: SentenceCalibration
) -> Interval:
    """Estimate the share of unsupported sentences from the flags, with a 95 % interval.

    Args:
        groups: the group of each sentence; groups are resampled as a whole.
    """
    import numpy as np

    share = sum(flags) / len(flags)
    if not calibration.is_reliable:
        return Interval(share, 0.0, 1.0)
    generator = np.random.default_rng(9)
    alarm_draws = _draw_from_beta(
        generator, calibration.false_alarms.found, calibration.false_alarms.of
    )
    kind_draws = [
        _draw_from_beta(generator, kind.flagged.found, kind.flagged.of)
        for kind in calibration.kinds
    ]
    caught_draws: Any = sum(kind_draws) / len(kind_draws)
    flagged_draws = _draw_shares(flags, groups, seed=8)
    corrected_draws = np.clip(
        (flagged_draws - alarm_draws) / np.maximum(caught_draws - alarm_draws, 1e-6), 0.0, 1.0
    )
    value = (share - calibration.false_alarms.share) / (
        calibration.caught - calibration.false_alarms.share
    )
    return _interval(min(1.0, max(0.0, value)), corrected_draws)


def decide_claim(faithfulness: Faithfulness) -> GateClaim:
    """Decide `says_what_the_posts_say`.

    The claim passes if, with 95 % confidence, at most one sentence in five is unsupported. The
    judge must detect every kind of error that it could be tested on.
    """
    calibration, share = faithfulness.calibration, faithfulness.unsupported
    if not calibration.is_reliable:
        detail = (
            f"not decided: {calibration.judge} cannot tell this author's own sentences from "
            f"wrong ones; it flags {calibration.caught:.2f} of the wrong and "
            f"{calibration.false_alarms.share:.2f} of the right ones, a difference of "
            f"{calibration.apart.describe()}, but at least {MIN_SEPARATION} is needed"
        )
        return GateClaim(CLAIM, None, None, MAX_UNSUPPORTED_SHARE, detail, blocks=BLOCKED_FORM)
    detail = (
        f"{share.value:.2f} of the sentences (95 %: {share.low:.2f} to {share.high:.2f}, limit "
        f"{MAX_UNSUPPORTED_SHARE}) are contradicted or not supported by their passages, according "
        f"to {calibration.judge}; flagged {format_rate(faithfulness.flagged)}"
    )
    if share.low > MAX_UNSUPPORTED_SHARE:
        return GateClaim(
            CLAIM, False, share.value, MAX_UNSUPPORTED_SHARE, detail, blocks=BLOCKED_FORM
        )
    if share.high > MAX_UNSUPPORTED_SHARE:
        return GateClaim(
            CLAIM,
            None,
            share.value,
            MAX_UNSUPPORTED_SHARE,
            f"not decided: {detail}",
            blocks=BLOCKED_FORM,
        )
    if missed_kinds := calibration.undetected_kinds:
        detail = (
            f"not decided: {detail}; it misses {' and '.join(missed_kinds)}: set TWIN_NLI_MODEL"
        )
        return GateClaim(
            CLAIM, None, share.value, MAX_UNSUPPORTED_SHARE, detail, blocks=BLOCKED_FORM
        )
    gateway_threshold = faithfulness.served_by
    return GateClaim(
        CLAIM,
        True,
        share.value,
        MAX_UNSUPPORTED_SHARE,
        detail,
        blocks=BLOCKED_FORM,
        cut=gateway_threshold,
    )


def _choose_threshold(
    planted: Sequence[ProbeSentence], scores: Sequence[float], positions: Sequence[int]
) -> float:
    """Return the midpoint between two scores that maximizes caught − false alarms (Youden 1950).

    Among equally good midpoints, the lowest is used, because it flags the fewest sentences.
    """
    import numpy as np

    scores_by_kind: dict[str | None, Any] = {
        kind: np.sort([scores[index] for index in positions if planted[index].error_kind == kind])
        for kind in {planted[index].error_kind for index in positions}
    }
    right_scores = scores_by_kind.pop(None)
    values = np.unique([scores[index] for index in positions])
    cuts = (values[1:] + values[:-1]) / 2
    if not len(cuts) or not scores_by_kind:
        return float(values[0])
    recall = sum(np.searchsorted(kind, cuts) / len(kind) for kind in scores_by_kind.values())
    recall = recall / len(scores_by_kind)
    return float(
        cuts[int(np.argmax(recall - np.searchsorted(right_scores, cuts) / len(right_scores)))]
    )


def _draw_shares(flags: Sequence[bool], groups: Sequence[Hashable], *, seed: int) -> Any:
    """Draw `RESAMPLES` values of the true share of flagged sentences.

    If no sentence is flagged, a bootstrap gives the interval 0 to 0. The share is therefore drawn
    from a beta distribution (Jeffreys' prior) with the effective number of sentences. Sentences of
    one document are similar; a bootstrap of whole documents measures how much (Kish's design
    effect).
    """
    import numpy as np

    hit_count, count = sum(flags), len(flags)
    share, design_effect = hit_count / count, 1.0
    if 0 < hit_count < count:
        weights, _ = resample_weights(count, groups=groups)
        values = np.array(flags, dtype=np.float64)
        variance = float(((weights @ values) / weights.sum(axis=1)).var())
        design_effect = max(1.0, variance / (share * (1.0 - share) / count))
    generator = np.random.default_rng(seed)
    return _draw_from_beta(generator, hit_count / design_effect, count / design_effect)


def _draw_from_beta(generator: Any, hits: float, total: float) -> Any:
    return generator.beta(hits + 0.5, total - hits + 0.5, size=RESAMPLES)


def _interval(value: float, draws: Any) -> Interval:
    import numpy as np

    low, high = np.quantile(draws, [TAIL_PROBABILITY, 1 - TAIL_PROBABILITY])
    return Interval(value, float(low), float(high))


def measure_candidate_faithfulness(
    prompts: PromptSet,
    answers: PromptAnswers,
    own: Sequence[DocumentText],
    judge: SentenceJudge,
    *,
    gateway_judge: SentenceJudge | None = None,
) -> Faithfulness | NotMeasured:
    """Measure the share of unsupported sentences.

    Args:
        own: the author's prose, on which the judge is calibrated.
        gateway_judge: the gateway's judge, if it differs from `judge`.
    """
    positions = find_positions_with_passages(prompts)
    texts = [(text.document, text.text) for text in own]
    calibration = calibrate(judge, texts)
    if calibration is None:
        shortage = 2 * MIN_SENTENCES
        return NotMeasured(f"fewer than {shortage} sentences of the author for calibration")
    faithfulness = measure_faithfulness(
        judge,
        calibration,
        to_judged_answers(
            prompts, positions, [answers.candidate[position].text for position in positions]
        ),
        documents=[prompts.documents[position] for position in positions],
    )
    shortage = f"fewer than {MIN_SENTENCES} sentences in answers with passages"
    if faithfulness is None:
        return NotMeasured(shortage)
    gateway_calibration = calibrate(gateway_judge, texts) if gateway_judge else calibration
    return replace(
        faithfulness,
        served_by=gateway_calibration.sentence_threshold if gateway_calibration else None,
    )


def _compute(context: MeasureContext) -> Faithfulness | NotMeasured | None:
    judges = context.judging_context.judges
    load_sentence_judge = judges.load_sentence_judge
    if context.has_too_few_passages or load_sentence_judge is None:
        return None
    try:
        return measure_candidate_faithfulness(
            context.prompts,
            context.answers,
            context.own_texts,
            load_sentence_judge(),
            gateway_judge=judges.gateway_sentence_judge,
        )
    except TwinError as error:  # the model in TWIN_NLI_MODEL cannot be loaded
        return NotMeasured(f"{error.found}; {error.next_step}")


MEASURE = Measure(
    name="faithfulness",
    value=Faithfulness,
    compute=_compute,
    claims=(
        ClaimRule(
            CLAIM,
            "At most one generated sentence in five is contradicted or not supported by its "
            "passages. Otherwise, the version is released for quotations only.",
            decide_claim,
            blocks=BLOCKED_FORM,
        ),
    ),
)
