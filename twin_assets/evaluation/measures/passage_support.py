"""How far answers rest on the passages in their prompts, beside the base's.

Belongs here: scoring the answers, the measure's place in the gate. Does not belong here: comparing
the scores (`judged/grounding.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence

from twin_assets.evaluation.judged import grounding
from twin_assets.evaluation.judged.grounding import Grounding
from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext, NotTaken
from twin_assets.evaluation.served.answer_measures import Judges, answers_to, scored, with_passages
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet
from twin_resources.quality.judges.support import SupportJudge


def compare_support(
    prompts: PromptSet, prompt_answers: PromptAnswers, scores: BaseScores, judge: SupportJudge
) -> Grounding | None:
    """None with too few prompts that show passages."""
    positions = with_passages(prompts)
    if len(positions) < grounding.FEWEST:
        return None

    def score(positions: Sequence[int], answers: Sequence[str]) -> list[float]:
        return scored(judge, prompts, positions, answers)

    answered = answers_to(
        prompts, positions, [prompt_answers.candidate[at].text for at in positions]
    )
    return grounding.compare(
        judge.score_all(answered),
        scores.scores("support", prompt_answers.base, score),
        elsewhere=judge.score_all(grounding.with_other_passages(answered)),
        documents=[prompts.documents[at] for at in positions],
    )


def _announce(scores: BaseScores, prompts: PromptSet, judges: Judges) -> None:
    scores.want("support", judges.support.revision, with_passages(prompts))


def _take(context: MeasureContext) -> Grounding | NotTaken | None:
    if context.too_few:
        return None
    judge = context.known.judges.support
    grounding = compare_support(context.asked, context.said, context.scores, judge)
    return grounding or NotTaken("too few of the prompts show passages")


MEASURE = Measure(
    name="grounding",
    value=Grounding,
    take=_take,
    announce=_announce,
    claims=(
        # Of models of 135M parameters, support is chance as often as not.
        ClaimRule(
            grounding.CLAIM,
            "Answers rest on their passages, above chance and at most .15 below "
            "the base's; stated only, for base models of less than a billion parameters.",
            grounding.claim,
            stated_for_small_bases=True,
        ),
    ),
    lines=grounding.lines,
)
