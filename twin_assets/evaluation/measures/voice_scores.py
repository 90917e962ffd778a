"""Compare the voice scores of candidate, base and author.

Scope: comparing voice scores on the same held-out prompts, and deciding when to stop asking.
Out of scope: the claims and the report (`author_voice.py`), the classifier
(`twin_resources/quality/judges/voice.py`), asking the models, and the prompt with the author's
posts in it (`posts_in_prompt.py`).

There are two scores, because "sounds like the author" has two meanings. One judge is trained
against other people *and* answers of the base model; a model scores higher by no longer writing
like a chat model. The other judge is trained against other people only; a model scores higher only
through this author's own style. A 135M model showed the first gain (+0.39 on one author) but not
the second (+0.007). The second score is therefore reported on request.
Method: paired bootstrap over documents (`bootstrap.py`).

A score above the base's is weak evidence. 135M models trained on another author of the same kind
reach it too, because they also no longer write like a chat model. The candidate must therefore also
cover a fifth of the distance from the base to the author. It is compared, prompt by prompt, with a
weighted mean of their two scores (`partway_scores`).

A short text scores lower than a long text by the same person (0.61 at 30 words, 0.88 at 60, for one
author). The author's answers are therefore cut to the length of the candidate's (`match_lengths`).
Scores of other people's texts that the judge has not seen are the floor; scores of the author's own
texts are the ceiling.

`author_voice.py` calls `score_texts` for all scores that are not stored yet (an earlier gate may
have stored the base's), then `measure_voice`.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from twin_assets.evaluation.statistics import bootstrap
from twin_assets.evaluation.statistics.bootstrap import Interval
from twin_assets.evaluation.statistics.sequential import Side, decide_side
from twin_resources.quality.judges.judge import JudgedAnswer
from twin_resources.quality.judges.voice import VoiceJudge

# largest allowed drop below the base model with the author's posts in its prompt
MAX_DROP_BELOW_POSTS = 0.02
MIN_GAP_SHARE = 0.2  # smallest share of the way from base to author that a candidate must cover
BET_LEVEL = 0.0125  # error rate of each limit's betting test while questions are asked
LESS_LIKE_BASE = "sounds_less_like_the_base"
FINAL_LEVEL = 0.975  # of the interval after the last question; with the betting test, 2.5 % error
MIN_GAP = 0.05  # smallest gap between base and author; a share of a smaller gap is meaningless


@dataclass(frozen=True)
class VoiceScores:
    """Voice scores of one judge, in the order of the prompts.

    Attributes:
        own: scores of the author's own answers, cut to the candidate's length (`match_lengths`).
        candidate: scores of the candidate's answers.
        base: scores of the base model's answers.
        base_with_posts: scores of the base model with the author's posts in its prompt, or None if
            it was not asked. There are fewer scores than prompts if a betting test on the first
            prompts has decided.
    """

    own: Sequence[float]
    candidate: Sequence[float]
    base: Sequence[float]
    base_with_posts: Sequence[float] | None = None

    @property
    def partway_scores(self) -> list[float]:
        """For each prompt, the score at `MIN_GAP_SHARE` from the base's to the author's."""
        return [
            (1.0 - MIN_GAP_SHARE) * base_score + MIN_GAP_SHARE * own_score
            for base_score, own_score in zip(self.base, self.own, strict=True)
        ]

    def scores_to_beat(self, *, base_only: bool) -> list[tuple[Sequence[float], float]]:
        """Return the scores that the candidate must exceed on average, each with its limit.

        Args:
            base_only: whether to compare with the base only. Otherwise the candidate must also
                exceed `partway_scores`, and must not be more than `MAX_DROP_BELOW_POSTS` below the
                base with posts, if that was asked.
        """
        targets: list[tuple[Sequence[float], float]] = [(self.base, 0.0)]
        if not base_only:
            targets.append((self.partway_scores, 0.0))
            if self.base_with_posts is not None:
                targets.append((self.base_with_posts, -MAX_DROP_BELOW_POSTS))
        return targets


@dataclass(frozen=True)
class VoiceComparison:
    """Mean scores under one judge, each with its interval.

    Attributes:
        over_base: candidate − base.
        over_posts: candidate − base with posts in the prompt.
        over_way: candidate − `VoiceScores.partway_scores`.
        gap_closed: share of the distance from base to author that the candidate covers, or None if
            base and author are too close.
        stopped: `above` or `below` if betting tests have placed the candidate on that side of its
            limits (`decide_early`), or None.
        last_over_base, last_over_posts, last_over_way: lower ends, at `FINAL_LEVEL`, of the
            intervals that decide if no betting test does; None if the model was not asked.
        posts_prompts: number of prompts behind `over_posts`, or None for all.
        posts_stopped: like `stopped`, but against the base with posts only.
    """

    own: Interval
    candidate: Interval
    base: Interval
    base_with_posts: Interval | None
    over_base: Interval
    over_posts: Interval | None
    over_way: Interval
    gap_closed: Interval | None
    stopped: Side | None = None
    last_over_base: float | None = None
    last_over_posts: float | None = None
    last_over_way: float | None = None
    posts_prompts: int | None = None
    posts_stopped: Side | None = None

    @property
    def is_less_like_the_base(self) -> bool:
        """Whether the candidate exceeds all scores that it is compared with (`scores_to_beat`)."""
        if self.stopped is not None:
            return self.stopped == "above"
        low, low_over_posts = self.over_base.low, self.over_posts.low if self.over_posts else None
        if self.last_over_base is not None:
            low, low_over_posts = self.last_over_base, self.last_over_posts
        if self.last_over_way is not None:
            low = min(low, self.last_over_way)
        beats_posts = low_over_posts is not None and low_over_posts >= -MAX_DROP_BELOW_POSTS
        return low > 0 and (beats_posts or self.posts_stopped == "above")


@dataclass(frozen=True)
class Voice:
    """The result of comparing voice scores.

    Attributes:
        prompts: number of held-out prompts that candidate and base answered with the same context.
        against_all: comparison by the judge trained against other people and the base model.
        against_people: comparison by the judge trained against other people only, or None if there
            are no other people's texts.
        why_not: why there is no score; empty if there is one.
        of_prompts: number of available prompts, asked or not; None if unknown.
    """

    prompts: int
    against_all: VoiceComparison | None = None
    against_people: VoiceComparison | None = None
    why_not: str = field(default="")
    of_prompts: int | None = None

    @property
    def count_text(self) -> str:
        """The number of prompts as text, such as `30 of 54 held-out questions`."""
        has_more = self.of_prompts is not None and self.of_prompts > self.prompts
        return f"{self.prompts}{f' of {self.of_prompts}' if has_more else ''} held-out questions"


def score_texts(judge: VoiceJudge, texts: Sequence[str]) -> list[float]:
    """Return the score of each text in [0, 1]; an empty text scores 0."""
    return judge.score_all([JudgedAnswer("", text) for text in texts])


def match_lengths(own: Sequence[str], answers: Sequence[str]) -> list[str]:
    """Cut each of the author's texts to the number of words of the corresponding answer.

    The text for an empty answer is not cut.
    """
    return [
        " ".join(text.split()[: len(answer.split()) or None])
        for text, answer in zip(own, answers, strict=True)
    ]


def measure_voice(
    documents: Sequence[str],
    *,
    against_all: VoiceScores,
    against_people: VoiceScores | None,
    available_count: int | None = None,
) -> Voice:
    """Compare the candidate's scores with the base's and the author's, prompt by prompt.

    Args:
        documents: id of the document that each prompt is about; the prompts are in random order.
        against_all, against_people: two judges' scores of the same answers.
        available_count: number of available prompts, asked or not; None if unknown.
    """
    return Voice(
        prompts=len(documents),
        against_all=_compare_scores(documents, against_all),
        against_people=(
            _compare_scores(documents, against_people, base_only=True) if against_people else None
        ),
        of_prompts=available_count,
    )


def decide_early(documents: Sequence[str], scores: VoiceScores, *, base_only: bool) -> Side | None:
    """Return whether the candidate is above or below its limits, or None if it is not yet known.

    The betting test uses the first prompt of each document. These prompts are independent, so
    asking may stop at any time. The claim covers all of the author's posts, not only the posts in
    these questions.

    Args:
        base_only: as in `VoiceScores.scores_to_beat`.
    """
    sides = [
        _decide_by_bet(documents, scores.candidate, other, limit)
        for other, limit in scores.scores_to_beat(base_only=base_only)
    ]
    if "below" in sides:
        return "below"
    return None if None in sides else "above"


def decide_against_posts(documents: Sequence[str], scores: VoiceScores) -> Side | None:
    """Decide like `decide_early`, but against the base with posts only.

    Once the candidate is above, that base is no longer asked, because its prompts are the longest.
    """
    if scores.base_with_posts is None:
        return None
    return _decide_by_bet(
        documents, scores.candidate, scores.base_with_posts, -MAX_DROP_BELOW_POSTS
    )


def _decide_by_bet(
    documents: Sequence[str], candidate: Sequence[float], other: Sequence[float], limit: float
) -> Side | None:
    """Decide whether the candidate exceeds the other model's scores by more than `limit`."""
    asked_documents = list(enumerate(documents[: len(other)]))
    first_positions = sorted(
        {document: position for position, document in reversed(asked_documents)}.values()
    )
    return decide_side(
        [(1.0 + candidate[position] - other[position]) / 2.0 for position in first_positions],
        limit=(1.0 + limit) / 2.0,
        max_false_above=BET_LEVEL,
        max_false_below=BET_LEVEL,
    )


def is_decided(voice: Voice) -> bool:
    """Return whether a betting test has decided the comparison that can refuse the candidate."""
    return voice.against_all is None or voice.against_all.stopped is not None


def _compare_scores(
    documents: Sequence[str], scores: VoiceScores, *, base_only: bool = False
) -> VoiceComparison:
    own_scores, candidate_scores, base_scores = scores.own, scores.candidate, scores.base
    posts_scores = scores.base_with_posts
    posts_count = len(posts_scores) if posts_scores else 0

    def final_lower_bound(other: Sequence[float]) -> float:
        difference = bootstrap.interval_of_means(
            [candidate_scores[: len(other)], other],
            lambda means: means[0] - means[1],
            groups=documents[: len(other)],
            level=FINAL_LEVEL,
        )
        return difference.low

    gap = bootstrap.paired_difference(own_scores, base_scores, groups=documents)
    gap_closed = None
    if gap.low > 0 and gap.value >= MIN_GAP:
        gap_closed = bootstrap.interval_of_means(
            [candidate_scores, base_scores, own_scores],
            lambda means: (means[0] - means[1]) / (means[2] - means[1]),
            groups=documents,
        )
    return VoiceComparison(
        own=bootstrap.mean_interval(own_scores, groups=documents),
        candidate=bootstrap.mean_interval(candidate_scores, groups=documents),
        base=bootstrap.mean_interval(base_scores, groups=documents),
        base_with_posts=(
            bootstrap.mean_interval(posts_scores, groups=documents[:posts_count])
            if posts_scores
            else None
        ),
        over_base=bootstrap.paired_difference(candidate_scores, base_scores, groups=documents),
        over_posts=(
            bootstrap.paired_difference(
                candidate_scores[:posts_count], posts_scores, groups=documents[:posts_count]
            )
            if posts_scores
            else None
        ),
        gap_closed=gap_closed,
        stopped=decide_early(documents, scores, base_only=base_only),
        last_over_base=final_lower_bound(base_scores),
        last_over_posts=final_lower_bound(posts_scores) if posts_scores else None,
        over_way=bootstrap.paired_difference(
            candidate_scores, scores.partway_scores, groups=documents
        ),
        last_over_way=None if base_only else final_lower_bound(scores.partway_scores),
        posts_prompts=posts_count if 0 < posts_count < len(documents) else None,
        posts_stopped=None if base_only else decide_against_posts(documents, scores),
    )
