"""Whether served answers are about their questions: each beside the candidate's other questions.

Scope: scoring the answers, when enough of them were given, the claim.
Out of scope: the score (`twin_resources/quality/judges/topic.py`), the share of questions
that are further (`statistics/permutation_auc.py`), asking (`sequential_plan.py`).

What decides is the candidate's permutation AUC: how often an answer is nearer to its own question
than to a held-out question about another post. Answers that do not depend on their questions have
.5. A model of shuffled pairs still picks up words of its question and has .67, .70 (SmolLM2-135M,
two authors), good ones .88 and 1.00. The limit of .8 is two standard errors of 30 questions from
either (`tests/unit/evaluation/test_on_topic.py` resamples the answers). The base is not needed for
that. Only where the candidate does not reach it is the base looked at: what the base does not do
either, a candidate is not refused for, if it is not shown to be below the base.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext, NotTaken
from twin_assets.evaluation.served.answer_measures import Judges
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
OWN = "own question"  # a score of the base's answers


@dataclass(frozen=True)
class OnTopic:
    """Topic of served answers to the same held-out questions.

    Attributes:
        questions: how many.
        of_questions: how many would have been asked, had fewer not decided.
        own: the candidate's permutation AUC.
        own_of_base, own_apart: the base's, and candidate − base; None: not asked.
        stopped: on which side of `LIMIT` a bet says that all questions would be; None: all were
            asked, and the mean says it.
    """

    questions: int
    of_questions: int
    own: Interval
    own_of_base: Interval | None = None
    own_apart: Interval | None = None
    stopped: Side | None = None

    @property
    def reaches_the_limit(self) -> bool:
        """Whether the candidate knows its questions, whatever the base does."""
        return self.own.value >= LIMIT if self.stopped is None else self.stopped == "above"


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
    of_base = None
    if scores.are_wanted(OWN):
        of_base = scores.scores(
            OWN, prompt_answers.base, partial(shares_of_answers, judge, prompts)
        )
    shares = shares_of_candidate(prompts, prompt_answers, judge)
    return compare(shares, of_base, documents=posts_of(prompts.documents))


def compare(
    shares: Sequence[float], of_base: Sequence[float] | None, *, documents: Sequence[str]
) -> OnTopic:
    """The candidate's AUC beside the base's, with their intervals.

    Args:
        shares, of_base: as `shares_of_answers` gives them; None: the base was not asked.
        documents: what each question is about, also of those that were not asked; questions of one
            document are drawn together.
    """
    asked, of = len(shares), len(documents)
    groups = documents[:asked]
    found = OnTopic(
        questions=asked,
        of_questions=of,
        own=bootstrap.mean(shares, groups=groups),
        stopped=stopped_at(shares, of=of) if asked < of else None,
    )
    if of_base is None:
        return found
    return replace(
        found,
        own_of_base=bootstrap.mean(of_base, groups=groups),
        own_apart=bootstrap.paired_difference(shares, of_base, groups=groups),
    )


def announce_base(scores: BaseScores, prompts: PromptSet, judges: Judges) -> None:
    """Say which scores of the base's answers to the held-out questions are wanted."""
    judge = judges.topic
    if judge is None:
        return
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
    own, count = on_topic.own, str(on_topic.questions)
    if on_topic.of_questions > on_topic.questions:
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
)
