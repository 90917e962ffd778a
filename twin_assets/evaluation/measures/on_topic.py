"""Measure whether served answers are nearer to their own questions than to other questions.

Scope: scoring the answers, deciding when there are enough of them, and deciding the claim.
Out of scope: the score (`twin_resources/quality/judges/topic.py`), the share of questions that are
further away (`statistics/permutation_auc.py`), and asking (`sequential_plan.py`).

The claim uses the candidate's permutation AUC: how often an answer is nearer to its own question
than to a held-out question about another post. Answers that do not depend on their questions have
an AUC of 0.5. A model trained on shuffled pairs still repeats words of its question and reaches
0.67 and 0.70 (SmolLM2-135M, two authors). Good models reach 0.88 and 1.00. With 30 questions, the
limit of 0.8 is two standard errors from the AUC of either kind of model
(`tests/unit/evaluation/test_on_topic.py` resamples the answers). The base matters only if the
candidate is below the limit. The candidate then passes if the base is also below the limit and the
candidate is not shown to be below the base.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext, NotMeasured
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet
from twin_assets.evaluation.served.served_judges import Judges
from twin_assets.evaluation.statistics import bootstrap
from twin_assets.evaluation.statistics.bootstrap import Interval
from twin_assets.evaluation.statistics.permutation_auc import CHANCE, permutation_shares
from twin_assets.evaluation.statistics.sequential import Side, decide_side
from twin_resources.quality.judges.judge import digest
from twin_resources.quality.judges.topic import TopicJudge
from twin_resources.registry.moves import GateClaim

CLAIM = "stays_on_topic"
MIN_AUC = 0.8
FALSE_PASS_RATE, FALSE_FAIL_RATE = 0.05, 0.01
OWN_QUESTION_SCORE = "own question"  # name of a score of the base's answers


@dataclass(frozen=True)
class OnTopic:
    """Topic scores of served answers to the same held-out questions.

    Attributes:
        questions: number of questions asked.
        of_questions: number of questions available.
        own: the candidate's permutation AUC.
        own_of_base, own_apart: the base's AUC, and candidate − base, or None if the base was not
            asked.
        stopped: `above` or `below` if a sequential test has decided on which side of `MIN_AUC` the
            AUC over all questions is; None if all questions were asked and their mean decides.
    """

    questions: int
    of_questions: int
    own: Interval
    own_of_base: Interval | None = None
    own_apart: Interval | None = None
    stopped: Side | None = None

    @property
    def has_reached_limit(self) -> bool:
        """Whether the candidate reaches `MIN_AUC`, regardless of the base."""
        return self.own.value >= MIN_AUC if self.stopped is None else self.stopped == "above"


def compute_answer_shares(
    judge: TopicJudge, prompts: PromptSet, positions: Sequence[int], texts: Sequence[str]
) -> list[float]:
    """Return, for each answer, the share of other posts' questions that are further from it.

    Each answer is compared with all held-out questions, answered or not. They are known beforehand,
    so an answer's share does not depend on the number of answers.
    """
    similarities = judge.cosine_similarities(prompts.questions, texts)
    return permutation_shares(similarities, positions, groups=resampling_groups(prompts.documents))


def resampling_groups(documents: Sequence[str]) -> Sequence[str]:
    """Return each question's resampling group: its post, or itself if there is only one post."""
    if len(set(documents)) > 1:
        return documents
    return [str(index) for index in range(len(documents))]


def decide_early(shares: Sequence[float], *, population_size: int) -> Side | None:
    """Decide whether the AUC over all questions is above or below `MIN_AUC`; None if undecided.

    Args:
        shares: shares of the first answers, in random order.
        population_size: number of questions available.
    """
    return decide_side(
        shares,
        limit=MIN_AUC,
        population_size=population_size,
        max_false_above=FALSE_PASS_RATE,
        max_false_below=FALSE_FAIL_RATE,
    )


def compute_candidate_shares(
    prompts: PromptSet, answers: PromptAnswers, judge: TopicJudge
) -> list[float]:
    """Return `compute_answer_shares` for the candidate's answers to the questions asked."""
    texts = [answers.candidate[position].text for position in prompts.held_out]
    return compute_answer_shares(judge, prompts, prompts.held_out, texts)


def measure_topic(
    prompts: PromptSet, prompt_answers: PromptAnswers, judge: TopicJudge, *, scores: BaseScores
) -> OnTopic:
    """Measure how well the answers to the held-out questions stay on topic.

    Args:
        scores: scores of the base's answers. If `request_base_scores` requested no score, the base
            was not asked.
    """
    base_shares = None
    if scores.is_requested(OWN_QUESTION_SCORE):
        base_shares = scores.get_or_compute(
            OWN_QUESTION_SCORE, prompt_answers.base, partial(compute_answer_shares, judge, prompts)
        )
    shares = compute_candidate_shares(prompts, prompt_answers, judge)
    return compare(shares, base_shares, documents=resampling_groups(prompts.documents))


def compare(
    shares: Sequence[float], base_shares: Sequence[float] | None, *, documents: Sequence[str]
) -> OnTopic:
    """Compare the candidate's AUC with the base's, with intervals.

    Args:
        shares: the candidate's `compute_answer_shares`.
        base_shares: the base's `compute_answer_shares`, or None if it was not asked.
        documents: the document of each question, asked or not. Questions about one document are
            resampled together.
    """
    asked_count, question_count = len(shares), len(documents)
    groups = documents[:asked_count]
    on_topic = OnTopic(
        questions=asked_count,
        of_questions=question_count,
        own=bootstrap.mean_interval(shares, groups=groups),
        stopped=decide_early(shares, population_size=question_count)
        if asked_count < question_count
        else None,
    )
    if base_shares is None:
        return on_topic
    return replace(
        on_topic,
        own_of_base=bootstrap.mean_interval(base_shares, groups=groups),
        own_apart=bootstrap.paired_difference(shares, base_shares, groups=groups),
    )


def request_base_scores(scores: BaseScores, prompts: PromptSet, judges: Judges) -> None:
    """Request the scores of the base's answers to the held-out questions."""
    judge = judges.topic
    if judge is None:
        return
    # a share depends on all held-out questions
    revision = digest(judge.revision, prompts.questions, list(resampling_groups(prompts.documents)))
    scores.request(OWN_QUESTION_SCORE, revision, prompts.held_out)


def _compute(context: MeasureContext) -> OnTopic | NotMeasured | None:
    judge = context.judging_context.judges.topic
    if judge is None:
        return NotMeasured(context.judging_context.judges.topic_missing_reason)
    if context.has_too_few_passages:
        return None
    return measure_topic(context.prompts, context.answers, judge, scores=context.scores)


def is_decided_by_base(on_topic: OnTopic) -> bool:
    """Return whether the claim depends on the comparison with a base that misses the limit too.

    That comparison needs all questions: after few, even a broken candidate is not shown to be below
    the base, and a comparison after each few would refuse too many good ones.
    """
    base = on_topic.own_of_base
    return not on_topic.has_reached_limit and base is not None and base.value < MIN_AUC


def _decide_claim(on_topic: OnTopic) -> GateClaim:
    own_auc, count_text = on_topic.own, str(on_topic.questions)
    if on_topic.of_questions > on_topic.questions:
        count_text += f" of {on_topic.of_questions}"
    detail = (
        f"answers are nearer to their own question than to another post's in "
        f"{_format_share(own_auc)} of the comparisons (chance {CHANCE:.2f}, limit {MIN_AUC}), on "
        f"{count_text} held-out questions"
    )
    if on_topic.stopped is not None and on_topic.questions != on_topic.of_questions:
        detail += f", after which a sequential test placed the share {on_topic.stopped} the limit"
    is_met = on_topic.has_reached_limit
    if not is_met and on_topic.own_of_base is not None and on_topic.own_apart is not None:
        is_met = is_decided_by_base(on_topic) and on_topic.own_apart.high >= 0.0
        detail += (
            f"; the base model scores {_format_share(on_topic.own_of_base)}, and candidate minus "
            f"base is {on_topic.own_apart.describe()}"
        )
        if is_met:
            detail += ": the base misses the limit too, and the candidate is not below the base"
    return GateClaim(CLAIM, is_met, own_auc.value, MIN_AUC, detail)


def _format_share(share: Interval) -> str:
    return f"{share.value:.2f} (95 %: {share.low:.2f} to {share.high:.2f})"


MEASURE = Measure(
    name="on_topic",
    value_type=OnTopic,
    compute=_compute,
    request_base_scores=request_base_scores,
    claims=(
        ClaimRule(
            CLAIM,
            "Served answers are nearer to their own questions than to other posts' in 8 of 10 "
            "comparisons. If the base model misses this limit too, they are not below the base.",
            _decide_claim,
            is_in_first_verdict=True,
        ),
    ),
)
