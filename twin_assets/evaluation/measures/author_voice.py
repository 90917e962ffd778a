"""Compare the candidate's voice with its base's, using judges of the author's style.

Scope: choosing the scored answers, the two claims and their details. Out of scope: comparing the
scores and their limits (`voice_scores.py`) and whether a claim can prevent a release (`gate.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence

from twin_assets.evaluation.measures import voice_scores
from twin_assets.evaluation.measures.held_out_perplexity import MIN_PASSAGES
from twin_assets.evaluation.measures.measure import ClaimRule, Measure, MeasureContext
from twin_assets.evaluation.measures.voice_scores import (
    LESS_LIKE_BASE,
    MAX_DROP_BELOW_POSTS,
    MIN_GAP_SHARE,
    Voice,
    VoiceScores,
)
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet
from twin_assets.evaluation.served.served_judges import Judges
from twin_resources.quality.judges.voice import VoiceJudge
from twin_resources.registry.moves import GateClaim

MIN_PROMPTS = 30
LIKE_AUTHOR = "sounds_like_this_author"
WITH_POSTS = " with posts"


def decide_less_like_base(voice: Voice) -> GateClaim:
    """Decide `sounds_less_like_the_base`.

    The conditions are: candidate − base > 0, candidate − `VoiceScores.partway_scores` > 0, and
    candidate − base with posts ≥ −`MAX_DROP_BELOW_POSTS`. A betting test decides them. If it
    reaches no decision, the lower end of each interval decides.
    """
    comparison = voice.against_all
    reason = _undecided_reason(voice)
    if reason or comparison is None:
        return _build_undecided_claim(LESS_LIKE_BASE, reason)
    base_detail = (
        f"voice score {comparison.candidate.value:.2f}, base model {comparison.base.value:.2f}: "
        f"{comparison.over_base.describe()} on {voice.count_text}"
    )
    if comparison.over_posts is None or comparison.base_with_posts is None:
        detail = f"not decided: {base_detail}; the base with posts in its prompt was not asked"
        return GateClaim(LESS_LIKE_BASE, None, comparison.over_base.value, 0.0, detail)
    detail = (
        f"{base_detail}; base with posts of the author in its prompt "
        f"{comparison.base_with_posts.value:.2f}: {comparison.over_posts.describe()}, "
        f"limit -{MAX_DROP_BELOW_POSTS}"
    )
    if comparison.posts_prompts is not None:
        detail += f", found above the limit after the first {comparison.posts_prompts} questions"
    detail += (
        f"; {comparison.over_way.describe()} past {100 * MIN_GAP_SHARE:.0f} % of the way from "
        "the base to the author, limit 0"
    )
    if comparison.gap_closed is not None:
        share = comparison.gap_closed
        detail += (
            f" (covered: {100 * share.value:.0f} %, 95 %: {100 * share.low:.0f} to "
            f"{100 * share.high:.0f} %)"
        )
    if comparison.stopped is not None:
        detail += f"; a sequential test decided: {comparison.stopped} these limits"
    is_met = comparison.is_less_like_the_base
    return GateClaim(LESS_LIKE_BASE, is_met, comparison.over_base.value, 0.0, detail)


def decide_like_author(voice: Voice) -> GateClaim:
    """Decide `sounds_like_this_author` with the judge trained against other people only."""
    comparison = voice.against_people
    reason = _undecided_reason(voice)
    if reason or comparison is None:
        return _build_undecided_claim(LIKE_AUTHOR, reason)
    closed_share = comparison.gap_closed
    gap_detail = "the base and the author have the same score"
    if closed_share is not None:
        gap_detail = (
            f"{100 * closed_share.value:.0f} % of the way from the base to the author "
            f"({comparison.base.value:.2f} to {comparison.own.value:.2f}; 95 %: "
            f"{100 * closed_share.low:.0f} to {100 * closed_share.high:.0f} %)"
        )
    detail = (
        f"voice score against other people only: {comparison.over_base.describe(3)} above the "
        f"base model on {voice.count_text}, {gap_detail}"
    )
    low = (
        comparison.over_base.low if comparison.last_over_base is None else comparison.last_over_base
    )
    is_met = low > 0 if comparison.stopped is None else comparison.stopped == "above"
    return GateClaim(LIKE_AUTHOR, is_met, comparison.over_base.value, 0.0, detail)


def _undecided_reason(voice: Voice) -> str:
    if voice.why_not or voice.prompts >= MIN_PROMPTS:
        return voice.why_not
    return f"{voice.prompts} held-out questions, but {MIN_PROMPTS} are needed; import more posts"


def _build_undecided_claim(name: str, reason: str) -> GateClaim:
    reason = reason or "there are no other people's texts to compare this voice with"
    return GateClaim(name, None, None, 0.0, f"not decided: {reason}")


def compare_voices(
    prompts: PromptSet,
    prompt_answers: PromptAnswers,
    scores: BaseScores,
    judges: Judges,
) -> Voice:
    """Compare the voice scores of author, candidate, base, and base with posts in its prompt."""
    if judges.voice is None:
        return Voice(len(prompts.held_out), why_not=judges.voice_missing_reason)
    candidate_texts = [prompt_answers.candidate[position].text for position in prompts.held_out]

    own_texts = voice_scores.match_lengths(
        prompts.own_answers[: len(candidate_texts)], candidate_texts
    )

    def score_all(name: str, judge: VoiceJudge) -> VoiceScores:
        def score(_positions: Sequence[int], answers: Sequence[str]) -> list[float]:
            return voice_scores.score_texts(judge, answers)

        scores_with_posts = None
        if prompts.with_posts:
            scores_with_posts = scores.get_or_compute(name + WITH_POSTS, prompt_answers.base, score)
        return VoiceScores(
            own=voice_scores.score_texts(judge, own_texts),
            candidate=voice_scores.score_texts(judge, candidate_texts),
            base=scores.get_or_compute(name, prompt_answers.base, score),
            base_with_posts=scores_with_posts,
        )

    scores_by_judge = {
        name: score_all(name, judge) for name, judge in judges.voice_judges().items()
    }
    return voice_scores.measure_voice(
        prompts.documents[: len(candidate_texts)],
        against_all=scores_by_judge["voice"],
        against_people=scores_by_judge.get("voice of people"),
        available_count=len(prompts.questions),
    )


def _request_base_scores(scores: BaseScores, prompts: PromptSet, judges: Judges) -> None:
    for name, judge in judges.voice_judges().items():
        scores.request(name, judge.revision, prompts.held_out)
        scores.request(name + WITH_POSTS, judge.revision, prompts.with_posts)


def _compute(context: MeasureContext) -> Voice:
    if context.has_too_few_passages:
        count = context.likelihoods.samples.held_out_count
        reason = f"{count} held-out passages, but {MIN_PASSAGES} are needed; import more posts"
        return Voice(prompts=0, why_not=reason)
    return compare_voices(
        context.prompts, context.answers, context.scores, context.judging_context.judges
    )


MEASURE = Measure(
    name="voice",
    value_type=Voice,
    compute=_compute,
    request_base_scores=_request_base_scores,
    claims=(
        ClaimRule(
            voice_scores.LESS_LIKE_BASE,
            "The voice score is above the base's, and more than a fifth of the way from it to the "
            "author's unseen posts. It is at most .02 below the score of the base with posts in "
            "its prompt. The whole interval must meet each limit.",
            decide_less_like_base,
            # Of the planted faults (tests/live/evaluation/test_broken_candidates.py), it refuses
            # untrained weights alone, together with `beats_base_model` and `learns_this_author`.
            is_on_request=True,
        ),
        # No 135M model has met this claim: the gain over the base was +0.007 [-0.04, 0.05]. It is
        # measured on request, and never refuses a version.
        ClaimRule(
            LIKE_AUTHOR,
            "The voice score against other people only is above the base's.",
            decide_like_author,
            is_on_request=True,
        ),
    ),
)
