"""Whether served answers are about their questions: each beside the candidate's other questions.

Belongs here: scoring the answers, when enough of them were given, the claim, its line.
Does not belong here: the score (`twin_resources/quality/judges/topic.py`), the share of questions
that are further (`statistics/permutation_auc.py`), asking (`sequential_plan.py`).

What decides is the candidate's permutation AUC: how often an answer is nearer to its own question
than to a held-out question about another post. Answers that do not depend on their questions have
.5. A model of shuffled pairs still picks up words of its question and has .67, .70 (SmolLM2-135M,
two authors), good ones .88 and 1.00. The limit of .8 is two standard errors of 30 questions from
either (`tests/unit/evaluation/test_on_topic.py` resamples the answers). The base is not needed for
that. Only where the candidate does not reach it is the base looked at: what the base does not do
either, a candidate is not refused for, if it is not shown to be below the base.

Topic scores of both are told; they decided up to `gate-7`, by their point value at ±.3.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twin_assets.evaluation.measures.held_out_perplexity import told_around
from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext, NotTaken
from twin_assets.evaluation.served.answer_measures import Judges, scored
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet
from twin_assets.evaluation.statistics import bootstrap
from twin_assets.evaluation.statistics.bootstrap import Interval
from twin_assets.evaluation.statistics.permutation_auc import CHANCE, shares_further
from twin_assets.evaluation.statistics.sequential import Side, decided
from twin_resources.quality.judges.judge import digest
from twin_resources.quality.judges.topic import TopicJudge
from twin_resources.registry.moves import GateClaim

CLAIM = "stays_on_topic"
LIMIT = 0.8
WRONGLY_MET, WRONGLY_UNMET = 0.05, 0.01
# What decided up to gate-7: topic score of the candidate − of the base.
BELOW_BASE_BY = 0.25
SCORE, OWN = "topic", "own question"


@dataclass(frozen=True)
class OnTopic:
    """Topic of served answers to the same held-out questions.

    Attributes:
        questions: how many.
        candidate, base: mean topic scores (`judges/topic.py`) in [0, 1]; base None: not asked.
        low, high: 95 % interval of candidate − base.
        scale: cosines that score 0 and 1 for this author.
        of_candidate, of_base: the means with their intervals.
        of_questions: how many would have been asked, had fewer not decided; None: no more.
        own: the candidate's permutation AUC; None: measured by a gate before `gate-8`.
        own_of_base, own_apart: the base's, and candidate − base; None: not asked.
        stopped: on which side of `LIMIT` a bet says that all questions would be; None: all were
            asked, and the mean says it.
    """

    questions: int
    candidate: float
    base: float | None
    low: float | None
    high: float | None
    scale: tuple[float, float]
    of_candidate: Interval | None = None
    of_base: Interval | None = None
    of_questions: int | None = None
    own: Interval | None = None
    own_of_base: Interval | None = None
    own_apart: Interval | None = None
    stopped: Side | None = None

    @property
    def reaches_the_limit(self) -> bool:
        """Whether the candidate knows its questions, whatever the base does."""
        own = self.own
        if own is None:
            return False
        return own.value >= LIMIT if self.stopped is None else self.stopped == "above"


def shares_of_answers(
    judge: TopicJudge, prompts: PromptSet, positions: Sequence[int], texts: Sequence[str]
) -> list[float]:
    """For each answer the share of other posts' held-out questions that are further from it.

    Compared is with all held-out questions, answered or not: they are known beforehand, so that an
    answer's share does not depend on how many others were given.
    """
    nearness = judge.nearness(prompts.questions, texts)
    return shares_further(nearness, positions, groups=posts_of(prompts.documents))


def posts_of(documents: Sequence[str]) -> Sequence[str]:
    """What is drawn together: the post of each question; each alone where all are of one."""
    if len(set(documents)) > 1:
        return documents
    return [str(number) for number in range(len(documents))]


def stopped_at(shares: Sequence[float], *, of: int) -> Side | None:
    """On which side of `LIMIT` the AUC over all questions will be; None: not yet known.

    Args:
        shares: of the first answers, in an order drawn by lot.
        of: how many questions there are.
    """
    return decided(shares, limit=LIMIT, of=of, above=WRONGLY_MET, below=WRONGLY_UNMET)


def shares_of_candidate(
    prompts: PromptSet, answers: PromptAnswers, judge: TopicJudge
) -> list[float]:
    """`shares_of_answers` of the candidate's answers to the held-out questions that were asked."""
    texts = [answers.candidate[at].text for at in prompts.held_out]
    return shares_of_answers(judge, prompts, prompts.held_out, texts)


def topic_of(
    prompts: PromptSet, prompt_answers: PromptAnswers, judge: TopicJudge, *, scores: BaseScores
) -> OnTopic:
    """Topic of the answers to the held-out questions that were asked.

    Args:
        scores: of the base's answers; without those of `announce_base` the base was not asked.
    """
    positions = prompts.held_out

    def score(places: Sequence[int], answers: Sequence[str]) -> list[float]:
        return scored(judge, prompts, places, answers)

    def share(places: Sequence[int], answers: Sequence[str]) -> list[float]:
        return shares_of_answers(judge, prompts, places, answers)

    base, shares_of_base = None, None
    if scores.are_wanted(SCORE):
        base = scores.scores(SCORE, prompt_answers.base, score)
        shares_of_base = scores.scores(OWN, prompt_answers.base, share)
    shares = shares_of_candidate(prompts, prompt_answers, judge)
    more = len(positions) < len(prompts.questions)
    return compare_topics(
        score(positions, [prompt_answers.candidate[at].text for at in positions]),
        base,
        shares=shares,
        shares_of_base=shares_of_base,
        scale=(judge.calibration.unrelated, judge.calibration.own),
        documents=posts_of(prompts.documents)[: len(positions)],
        of_questions=len(prompts.questions),
        stopped=stopped_at(shares, of=len(prompts.questions)) if more else None,
    )


def compare_topics(
    candidate: Sequence[float],
    base: Sequence[float] | None,
    *,
    shares: Sequence[float],
    shares_of_base: Sequence[float] | None,
    scale: tuple[float, float],
    documents: Sequence[str] | None = None,
    of_questions: int | None = None,
    stopped: Side | None = None,
) -> OnTopic:
    """Means, their differences, and the intervals of all of them.

    Args:
        candidate, base: topic scores; base None: not asked.
        shares, shares_of_base: as `shares_of_answers` gives them.
        documents: what each question is about; questions of one document are drawn together.
    """

    def apart(one: Sequence[float], other: Sequence[float] | None) -> Interval | None:
        return None if other is None else bootstrap.paired_difference(one, other, groups=documents)

    def mean(values: Sequence[float] | None) -> Interval | None:
        return None if values is None else bootstrap.mean(values, groups=documents)

    of_base, difference = mean(base), apart(candidate, base)
    return OnTopic(
        questions=len(candidate),
        candidate=sum(candidate) / len(candidate),
        base=of_base.value if of_base else None,
        low=difference.low if difference else None,
        high=difference.high if difference else None,
        scale=scale,
        of_candidate=mean(candidate),
        of_base=of_base,
        of_questions=of_questions,
        own=mean(shares),
        own_of_base=mean(shares_of_base),
        own_apart=apart(shares, shares_of_base),
        stopped=stopped,
    )


def announce_base(scores: BaseScores, prompts: PromptSet, judges: Judges) -> None:
    """Say which scores of the base's answers to the held-out questions are wanted."""
    judge = judges.topic
    if judge is None:
        return
    scores.want(SCORE, judge.revision, prompts.held_out)
    # a share depends on all the questions that there are
    revision = digest(judge.revision, prompts.questions, list(posts_of(prompts.documents)))
    scores.want(OWN, revision, prompts.held_out)


def _take(context: MeasureContext) -> OnTopic | NotTaken | None:
    judge = context.known.judges.topic
    if judge is None:
        return NotTaken(context.known.judges.topic_why_not)
    if context.too_few:
        return None
    return topic_of(context.asked, context.said, judge, scores=context.scores)


def refuses(on_topic: OnTopic) -> bool:
    """Whether the claim is not met by these answers."""
    return _claim(on_topic).passed is False


def _claim(on_topic: OnTopic) -> GateClaim:
    own = on_topic.own
    if own is None:
        return _by_scores(on_topic)
    count = str(on_topic.questions)
    if on_topic.of_questions is not None and on_topic.of_questions > on_topic.questions:
        count += f" of {on_topic.of_questions}"
    detail = (
        f"nearer to its own question than to another post's {_written(own)} of the time; "
        f"{CHANCE:.2f} is chance, limit {LIMIT}, on {count} held-out questions"
    )
    if on_topic.stopped is not None and on_topic.questions != on_topic.of_questions:
        detail += f", where a bet on {on_topic.stopped} the limit was won"
    met = on_topic.reaches_the_limit
    if not met and on_topic.own_of_base is not None and on_topic.own_apart is not None:
        met = on_topic.own_of_base.value < LIMIT and on_topic.own_apart.high >= 0.0
        detail += (
            f"; the base model {_written(on_topic.own_of_base)}, candidate − base "
            f"{on_topic.own_apart.told()}"
        )
        if met:
            detail += ": the base does not reach the limit, and the candidate is not below it"
    return GateClaim(CLAIM, met, own.value, LIMIT, detail)


def _written(share: Interval) -> str:
    return f"{share.value:.2f} (95 %: {share.low:.2f} to {share.high:.2f})"


def _by_scores(on_topic: OnTopic) -> GateClaim:
    """The claim of an evaluation of before gate-8, as it was decided then."""
    base, low, high = on_topic.base, on_topic.low, on_topic.high
    if base is None or low is None or high is None:
        return GateClaim(CLAIM, None, None, None, "not decided: the base was not asked")
    difference = on_topic.candidate - base
    count = str(on_topic.questions)
    if on_topic.of_questions is not None and on_topic.of_questions > on_topic.questions:
        count += f" of {on_topic.of_questions}"
    detail = (
        f"topic score {on_topic.candidate:.2f} against {base:.2f} of the base model: "
        f"{difference:+.2f} (95 %: {low:+.2f} to {high:+.2f}; limit "
        f"-{BELOW_BASE_BY}) on {count} held-out questions, both served"
    )
    return GateClaim(CLAIM, difference >= -BELOW_BASE_BY, difference, -BELOW_BASE_BY, detail)


def _lines(on_topic: OnTopic) -> list[str]:
    lines: list[str] = []
    if on_topic.own is not None:
        of_base = on_topic.own_of_base
        beside = "" if of_base is None else f", the base model's {_written(of_base)}"
        lines.append(
            f"- Nearer to its own question than to another post's: {_written(on_topic.own)}"
            f"{beside}; chance {CHANCE:.2f}, limit {LIMIT}, {on_topic.questions} held-out "
            "questions."
        )
    score = told_around(on_topic.candidate, on_topic.of_candidate)
    base, low, high = on_topic.base, on_topic.low, on_topic.high
    if base is None or low is None or high is None:
        return [*lines, f"- Topic score {score}; the base model was not asked for it."]
    difference = Interval(on_topic.candidate - base, low, high)
    return [
        *lines,
        f"- Topic score {score}, of the base model {told_around(base, on_topic.of_base)}; "
        f"candidate − base {difference.told(3)}, {on_topic.questions} held-out questions.",
    ]


def _metadata(on_topic: OnTopic) -> Mapping[str, float | int]:
    figures: dict[str, float | int] = {"topic": round(on_topic.candidate, 3)}
    if on_topic.base is not None:
        figures["topic_of_base_model"] = round(on_topic.base, 3)
    if on_topic.own is not None:
        figures["nearer_to_its_own_question"] = round(on_topic.own.value, 3)
        figures["questions_for_topic"] = on_topic.questions
    if on_topic.own_of_base is not None:
        figures["nearer_to_its_own_question_of_base_model"] = round(on_topic.own_of_base.value, 3)
    return figures


MEASURE = Measure(
    name="on_topic",
    value=OnTopic,
    take=_take,
    announce=announce_base,
    claims=(
        ClaimRule(
            CLAIM,
            "Served answers are nearer to their own questions than to other posts' in 8 of 10 "
            "comparisons, or not less often than a base's that are not either.",
            _claim,
            first=True,
        ),
    ),
    lines=_lines,
    metadata=_metadata,
)
