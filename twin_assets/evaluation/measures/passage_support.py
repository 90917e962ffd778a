"""Measure how well passages support the answers, and recognize answers that decline.

Scope: comparing support scores of candidate and base, the control with other questions' passages,
recognizing answers that decline, and the claim.
Out of scope: the support score (`twin_resources/quality/judges/support.py`) and finding passages.

A support score of 0.4 means nothing by itself, because the common words of a subject support any
answer about it. Each answer is therefore also scored on the passages of another question
(`elsewhere`), and the claim uses the difference. Reference for measuring word overlap with the
source: Maynez et al. 2020, https://aclanthology.org/2020.acl-main.173.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext, NotMeasured
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet
from twin_assets.evaluation.served.served_judges import (
    Judges,
    find_positions_with_passages,
    score_answers,
    to_judged_answers,
)
from twin_assets.evaluation.statistics.bootstrap import Interval, mean_interval, paired_difference
from twin_resources.quality.judges.judge import JudgedAnswer
from twin_resources.quality.judges.support import SupportJudge
from twin_resources.registry.moves import GateClaim

CLAIM = "rests_on_its_passages"
MAX_DROP_BELOW_BASE = 0.15
MIN_ANSWERS = 10
_REFUSAL = re.compile(
    r"""(?ix)
    \b(?:i|we)(?:'d|\s+would)\s+(?:rather\s+not|prefer\s+not)
    |\b(?:i|we)\s+(?:really\s+|honestly\s+|simply\s+|still\s+|just\s+)?
      (?:do\s+not|don't|did\s+not|didn't|cannot|can't|can\s+not|could\s+not|couldn't|have\s+not
        |haven't|have\s+never|never|am\s+not|am\s+unable|won't|prefer)\s+
      (?:really\s+|actually\s+|ever\s+|currently\s+|personally\s+)?
      (?:know|recall|remember|have\s+(?:any|a|an|the|access|enough|that|this|anything|personal
        |written|published)|say|tell|answer|share|speak|talk|discuss|comment|find|written|wrote|write
        |published|able|aware|familiar|personal|to\s+(?:say|answer|share|provide|tell|help)
        |provide|disclose|mention(?:ed)?|not)
    |\bi(?:'m|\s+am)\s+(?:not\s+(?:able|aware|familiar|allowed|in\s+a\s+position)|unable|afraid\s+i)
    |\bi(?:'m|\s+am)\s+not\s+(?:sure|certain)\b(?![^.?!]*\bbut\b)
    |\bi(?:'m|\s+am)\s+(?:very\s+|so\s+)?sorry[,.]?\s+(?:but\b|i\s+(?:can|don|do\s+not|am|have))
    |\bas\s+an?\s+(?:ai|language\s+model|assistant)\b
    |\b(?:there\s+is|there's|i\s+(?:have|see|find))\s+(?:no|nothing)\b[^.?!]{0,60}
      \b(?:about|on|information|mention|posts?|record|answer)\b
    |\bno\s+(?:information|idea|record|mention|post)\b
    |\bnothing\s+(?:that\s+)?(?:i(?:'ve|\s+have)\s+)?(?:published|written|wrote|posted)\b
    |\b(?:ich\s+(?:weiß|weiss)\s+(?:es\s+|das\s+)?nicht|(?:dazu|darüber)\s+(?:habe|kann|möchte)\s+
      ich\s+(?:leider\s+)?(?:nichts?|keine)|kann\s+ich\s+(?:leider\s+)?nicht\s+(?:sagen|beantworten)
      |keine\s+ahnung|tut\s+mir\s+leid)
    |\b(?:je\s+ne\s+(?:sais|peux|souhaite|me\s+souviens)\s+(?:pas|rien)|je\s+n'ai\s+(?:pas|rien|aucun)
      |désolée?)
    |\b(?:no\s+(?:lo\s+)?(?:sé|puedo|tengo|recuerdo)|lo\s+siento|nunca\s+he\s+escrito)
    """
)


@dataclass(frozen=True)
class Grounding:
    """Support of served answers by the passages in their prompts.

    Attributes:
        answers: number of answers with passages, the same for candidate and base.
        support, base_support: mean support in [0, 1].
        elsewhere: mean support of the candidate's answers by passages of other questions.
        difference: candidate − base.
        own: support − elsewhere, the part that depends on the answer's own passages.
    """

    answers: int
    support: Interval
    base_support: Interval
    elsewhere: Interval
    difference: Interval
    own: Interval


def is_refusal(answer: str) -> bool:
    """Return whether an answer is a refusal, judged by its first 200 characters.

    The pattern recognizes common wordings in English, German, French and Spanish. It misses answers
    that decline in other words.
    """
    return bool(_REFUSAL.search(answer[:200].replace("’", "'")))


def swap_passages(judged_answers: Sequence[JudgedAnswer]) -> list[JudgedAnswer]:
    """Return each answer with the passages of another answer.

    The other answer is half the list away, or the next one from there that shares no passage.
    """
    count = len(judged_answers)
    answers: list[JudgedAnswer] = []
    for index, answer in enumerate(judged_answers):
        candidates = [
            judged_answers[(index + count // 2 + step) % count].passages for step in range(count)
        ]
        own_passages = set(answer.passages)
        other_passages = next(
            (passages for passages in candidates if own_passages.isdisjoint(passages)),
            candidates[0],
        )
        answers.append(replace(answer, passages=other_passages))
    return answers


def compare(
    candidate: Sequence[float],
    base: Sequence[float],
    *,
    swapped_scores: Sequence[float],
    documents: Sequence[Hashable] | None = None,
) -> Grounding:
    """Summarize support scores of answers to the same questions.

    Args:
        candidate, base: scores (`SupportJudge`) of answers that had passages.
        swapped_scores: scores of the candidate's answers after `swap_passages`.
        documents: the document of each question; documents are resampled as a whole. None to
            resample questions.
    """
    return Grounding(
        answers=len(candidate),
        support=mean_interval(candidate, groups=documents),
        base_support=mean_interval(base, groups=documents),
        elsewhere=mean_interval(swapped_scores, groups=documents),
        difference=paired_difference(candidate, base, groups=documents),
        own=paired_difference(candidate, swapped_scores, groups=documents),
    )


def decide_claim(grounding: Grounding) -> GateClaim:
    """Decide `rests_on_its_passages`: above chance, and at most 0.15 below the base's support."""
    detail = (
        f"support {grounding.support.value:.2f} by the answers' own passages, "
        f"{grounding.elsewhere.value:.2f} by another question's: {grounding.own.describe()}, must "
        f"be above 0; base model {grounding.base_support.value:.2f}: "
        f"{grounding.difference.describe()}, limit -{MAX_DROP_BELOW_BASE}; "
        f"{grounding.answers} answers"
    )
    difference = grounding.difference.value
    is_met = grounding.own.low > 0.0 and difference >= -MAX_DROP_BELOW_BASE
    return GateClaim(CLAIM, is_met, difference, -MAX_DROP_BELOW_BASE, detail)


def compare_support(
    prompts: PromptSet, prompt_answers: PromptAnswers, scores: BaseScores, judge: SupportJudge
) -> Grounding | None:
    """Compare the support of both models' answers; return None if too few prompts have passages."""
    positions = find_positions_with_passages(prompts)
    if len(positions) < MIN_ANSWERS:
        return None

    def score(positions: Sequence[int], answers: Sequence[str]) -> list[float]:
        return score_answers(judge, prompts, positions, answers)

    judged_answers = to_judged_answers(
        prompts, positions, [prompt_answers.candidate[position].text for position in positions]
    )
    return compare(
        judge.score_all(judged_answers),
        scores.get_or_compute("support", prompt_answers.base, score),
        swapped_scores=judge.score_all(swap_passages(judged_answers)),
        documents=[prompts.documents[position] for position in positions],
    )


def _request_base_scores(scores: BaseScores, prompts: PromptSet, judges: Judges) -> None:
    scores.request("support", judges.support.revision, find_positions_with_passages(prompts))


def _compute(context: MeasureContext) -> Grounding | NotMeasured | None:
    if context.has_too_few_passages:
        return None
    judge = context.judging_context.judges.support
    grounding = compare_support(context.prompts, context.answers, context.scores, judge)
    return grounding or NotMeasured("too few prompts contain passages")


MEASURE = Measure(
    name="grounding",
    value_type=Grounding,
    compute=_compute,
    request_base_scores=_request_base_scores,
    claims=(
        # For models of 135M parameters, support is at chance level about half of the time.
        ClaimRule(
            CLAIM,
            "Passages support the answers above chance, and at most .15 less than the base's; "
            "advisory for base models of less than a billion parameters.",
            decide_claim,
            is_advisory_for_small_bases=True,
        ),
    ),
)
