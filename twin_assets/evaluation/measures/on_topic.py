"""Measure whether served answers are nearer to their own questions than to other questions.

The score: `twin_resources/quality/judges/topic.py`. The share of questions that are further away:
`statistics/permutation_auc.py`. Asking: `sequential_plan.py`.

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
from functools import partial

from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext
from twin_assets.evaluation.served.served_answers import PromptSet
from twin_assets.evaluation.statistics.bootstrap import Interval, mean_interval, paired_difference
from twin_assets.evaluation.statistics.permutation_auc import CHANCE, permutation_shares
from twin_assets.evaluation.statistics.sequential import Side, decide_side
from twin_resources.quality.judges.judge import digest
from twin_resources.quality.judges.topic import TopicJudge
from twin_resources.registry.moves import GateClaim

CLAIM = "stays_on_topic"
MIN_AUC = 0.8
FALSE_PASS_RATE, FALSE_FAIL_RATE = 0.05, 0.01
OWN_QUESTION_SCORE = "own question"  # name of a score of the base's answers


def resampling_groups(documents: Sequence[str]) -> Sequence[str]:
    """Return each question's resampling group: its post, or itself if there is only one post."""
    if len(set(documents)) > 1:
        return documents
    return [str(index) for index in range(len(documents))]


def compute_shares(
    judge: TopicJudge, prompts: PromptSet, positions: Sequence[int], texts: Sequence[str]
) -> list[float]:
    """Return, for each answer, the share of other posts' questions that are further from it.

    Each answer is compared with all held-out questions, answered or not. They are known beforehand,
    so an answer's share does not depend on the number of answers.
    """
    similarities = judge.cosine_similarities(prompts.questions, texts)
    return permutation_shares(similarities, positions, groups=resampling_groups(prompts.documents))


def compute_candidate_shares(context: MeasureContext, judge: TopicJudge) -> list[float]:
    """Return `compute_shares` for the candidate's answers to the questions asked."""
    positions = context.prompts.held_out
    return compute_shares(judge, context.prompts, positions, context.candidate_texts(positions))


def compute_base_shares(context: MeasureContext, judge: TopicJudge) -> list[float] | None:
    """Return `compute_shares` for the base's answers, or None if the base is not asked."""
    if not context.scores.is_requested(OWN_QUESTION_SCORE):
        return None
    return context.scores.get_or_compute(
        OWN_QUESTION_SCORE, context.answers.base, partial(compute_shares, judge, context.prompts)
    )


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


def place_claim(context: MeasureContext) -> Side | None:
    """Return on which side of the claim's limit the candidate is, or None to ask more questions.

    A base that misses the limit too may excuse the candidate. That comparison needs all questions:
    after few, even a broken candidate is not shown to be below the base, and a comparison after
    each few would refuse too many good ones.
    """
    judge = context.judges.topic
    if judge is None:
        return "above"
    shares = compute_candidate_shares(context, judge)
    side = decide_early(shares, population_size=len(context.prompts.questions))
    if side == "below":
        base_shares = compute_base_shares(context, judge)
        if base_shares is not None and mean_interval(base_shares).value < MIN_AUC:
            return None
    return side


def reaches_limit(shares: Sequence[float], *, question_count: int) -> tuple[bool, Side | None]:
    """Return whether the candidate reaches `MIN_AUC`, and the side that an early test gave it.

    Without an early decision, the mean of the shares decides.
    """
    is_early = len(shares) < question_count
    side = decide_early(shares, population_size=question_count) if is_early else None
    return (mean_interval(shares).value >= MIN_AUC if side is None else side == "above"), side


def decide_claim(
    shares: Sequence[float], base_shares: Sequence[float] | None, *, documents: Sequence[str]
) -> GateClaim:
    """Decide `stays_on_topic` from the candidate's AUC, and from the base's if it is needed.

    Args:
        shares, base_shares: `compute_shares` of both models; None if the base was not asked.
        documents: the document of each question, asked or not. Questions about one document are
            resampled together.
    """
    count, question_count = len(shares), len(documents)
    groups = documents[:count]
    own = mean_interval(shares, groups=groups)
    is_met, early_side = reaches_limit(shares, question_count=question_count)
    count_text = f"{count} of {question_count}" if count < question_count else str(count)
    detail = (
        f"answers are nearer to their own question than to another post's in "
        f"{_format_share(own)} of the comparisons (chance {CHANCE:.2f}, limit {MIN_AUC}), on "
        f"{count_text} held-out questions"
    )
    if early_side is not None:
        detail += f", after which a sequential test placed the share {early_side} the limit"
    if not is_met and base_shares is not None:
        base = mean_interval(base_shares, groups=groups)
        difference = paired_difference(shares, base_shares, groups=groups)
        is_met = base.value < MIN_AUC and difference.high >= 0.0
        detail += (
            f"; the base model scores {_format_share(base)}, and candidate minus base is "
            f"{difference.describe()}"
        )
        if is_met:
            detail += ": the base misses the limit too, and the candidate is not below the base"
    return GateClaim(CLAIM, is_met, own.value, MIN_AUC, detail)


def _format_share(share: Interval) -> str:
    return f"{share.value:.2f} (95 %: {share.low:.2f} to {share.high:.2f})"


def request_base_scores(context: MeasureContext) -> None:
    """Request the base's scores; for a first verdict, only if they can change the claim."""
    prompts, judge = context.prompts, context.judges.topic
    if judge is None:
        return
    if context.is_first_verdict:
        if not prompts.held_out or not context.answers.candidate.keys() >= {*prompts.held_out}:
            return
        shares = compute_candidate_shares(context, judge)
        if reaches_limit(shares, question_count=len(prompts.questions))[0]:
            return
    # a share depends on all held-out questions
    revision = digest(judge.revision, prompts.questions, list(resampling_groups(prompts.documents)))
    context.scores.request(OWN_QUESTION_SCORE, revision, prompts.held_out)


def decide(context: MeasureContext) -> tuple[GateClaim] | str:
    judge = context.judges.topic
    if judge is None:
        return context.judges.topic_missing_reason
    if context.has_too_few_passages:
        return context.few_passages_reason
    documents = resampling_groups(context.prompts.documents)
    shares, base_shares = (
        compute_candidate_shares(context, judge),
        compute_base_shares(context, judge),
    )
    return (decide_claim(shares, base_shares, documents=documents),)


MEASURE = Measure(
    claims=(
        ClaimRule(
            CLAIM,
            "Served answers are nearer to their own questions than to other posts' in 8 of 10 "
            "comparisons. If the base model misses this limit too, they are not below the base.",
            is_in_first_verdict=True,
        ),
    ),
    decide=decide,
    request_base_scores=request_base_scores,
)
