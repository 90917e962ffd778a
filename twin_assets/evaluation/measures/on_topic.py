"""Whether served answers are about their questions: topic scores of candidate and base.

Belongs here: scoring the answers, the claim, its line. Does not belong here: the score
(`twin_resources/quality/judges/topic.py`), how many questions a first part asks (`first_part.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from twin_assets.evaluation.measures.held_out_perplexity import told_around
from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext, NotTaken
from twin_assets.evaluation.served.answer_measures import Judges, scored
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet
from twin_resources.quality.judges.topic import TopicJudge
from twin_resources.registry.moves import GateClaim
from twin_resources.statistics import bootstrap
from twin_resources.statistics.bootstrap import Interval

CLAIM = "stays_on_topic"
# Since a question finds the post that it names, the base repeats the right passage and scores .63
# (.48 before), a good tuned model .47 as before: with the limit of .15 it was refused by .01.
BELOW_BASE_BY = 0.25


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


def topic_of_first(
    count: int,
    prompts: PromptSet,
    prompt_answers: PromptAnswers,
    scores: BaseScores,
    judge: TopicJudge,
) -> tuple[OnTopic, list[float]]:
    """Topic scores on the first held-out questions, and the differences candidate − base."""
    positions = prompts.held_out[:count]

    def score(places: Sequence[int], answers: Sequence[str]) -> list[float]:
        return scored(judge, prompts, places, answers)

    mine = score(positions, [prompt_answers.candidate[at].text for at in positions])
    theirs = scores.scores("topic", prompt_answers.base, score)
    topic = compare_topics(
        mine,
        theirs,
        scale=(judge.calibration.unrelated, judge.calibration.own),
        documents=prompts.documents[:count],
    )
    differences = [one - other for one, other in zip(mine, theirs, strict=True)]
    return replace(topic, of_questions=len(prompts.held_out)), differences


def compare_topics(
    candidate: Sequence[float],
    base: Sequence[float],
    *,
    scale: tuple[float, float],
    documents: Sequence[str] | None = None,
) -> OnTopic:
    """Means, their difference, and the intervals of all three.

    Args:
        documents: what each question is about; questions of one document are drawn together.
    """
    difference = bootstrap.paired_difference(candidate, base, groups=documents)
    return OnTopic(
        questions=len(candidate),
        candidate=sum(candidate) / len(candidate),
        base=sum(base) / len(base),
        low=difference.low,
        high=difference.high,
        scale=scale,
        of_candidate=bootstrap.mean(candidate, groups=documents),
        of_base=bootstrap.mean(base, groups=documents),
    )


def _announce(scores: BaseScores, prompts: PromptSet, judges: Judges) -> None:
    if judges.topic is not None:
        scores.want("topic", judges.topic.revision, prompts.held_out)


def _take(context: MeasureContext) -> OnTopic | NotTaken | None:
    judge, prompts = context.known.judges.topic, context.asked
    if judge is None:
        return NotTaken(context.known.judges.topic_why_not)
    if context.too_few:
        return None
    return topic_of_first(len(prompts.held_out), prompts, context.said, context.scores, judge)[0]


def _claim(on_topic: OnTopic) -> GateClaim:
    difference = on_topic.candidate - on_topic.base
    count = str(on_topic.questions)
    if on_topic.of_questions is not None and on_topic.of_questions > on_topic.questions:
        count += f" of {on_topic.of_questions}"
    detail = (
        f"topic score {on_topic.candidate:.2f} against {on_topic.base:.2f} of the base model: "
        f"{difference:+.2f} (95 %: {on_topic.low:+.2f} to {on_topic.high:+.2f}; limit "
        f"-{BELOW_BASE_BY}) on {count} held-out questions, both served"
    )
    return GateClaim(CLAIM, difference >= -BELOW_BASE_BY, difference, -BELOW_BASE_BY, detail)


def _lines(on_topic: OnTopic) -> list[str]:
    difference = Interval(on_topic.candidate - on_topic.base, on_topic.low, on_topic.high)
    return [
        f"- Topic score {told_around(on_topic.candidate, on_topic.of_candidate)}, of the base "
        f"model {told_around(on_topic.base, on_topic.of_base)}; candidate − base "
        f"{difference.told(3)}, {on_topic.questions} held-out questions."
    ]


def _metadata(on_topic: OnTopic) -> Mapping[str, float]:
    return {"topic": round(on_topic.candidate, 3), "topic_of_base_model": round(on_topic.base, 3)}


MEASURE = Measure(
    name="on_topic",
    value=OnTopic,
    take=_take,
    announce=_announce,
    claims=(
        ClaimRule(
            CLAIM,
            "Served answers are about their questions, at most .25 below the base's.",
            _claim,
            first=True,
        ),
    ),
    lines=_lines,
    metadata=_metadata,
)
