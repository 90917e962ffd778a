"""Whether a model's answers sound like the author: the voice score of candidate, base and author.

Scope: comparing voice scores on the same held-out prompts, and when that is decided.
Out of scope: the claims and the report (`author_voice.py`), the classifier
(`twin_resources/quality/judges/voice.py`), asking the models, the prompt with the author's posts in
it (`posts_in_prompt.py`).

Two scores, because two things are meant by "sounds like": against other people *and* answers of
the base model, a model gains by unlearning how a chat model writes; against other people alone it
gains only by what is this author's. A 135M model showed the first (+.39 on one author) and not the
second (+.007), so the second is stated always and blocks only where it can be expected.
Method: paired bootstrap over documents (`bootstrap.py`).

To be above the base is little: 135M models that another author of the same kind taught are, for
they have unlearnt the chat model too. So the candidate must also have gone a fifth of the way from
the base to the author, compared prompt by prompt with a mixture of their two scores (`to_beat`).

A short text is scored lower than a long one of the same hand (.61 at 30 words, .88 at 60, of one
author), so that the author's answers are cut to the length of the candidate's: `as_long_as`.
A score is read between its floor, other people's texts that the judge has not seen, and its
ceiling, the author's own.

How the gate uses it: `scores_of(judge, texts)` for each column that is not known yet (the base's
may come from a former gate) → `measure_voice` → `author_voice.py`.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from twin_assets.evaluation.statistics import bootstrap
from twin_assets.evaluation.statistics.bootstrap import Interval
from twin_assets.evaluation.statistics.sequential import Side, decided
from twin_resources.quality.judges.judge import JudgedAnswer
from twin_resources.quality.judges.texts import WriterSample
from twin_resources.quality.judges.voice import VoiceJudge

BELOW_POSTS_BY = 0.02  # may be lost to the base model that has posts of the author in its prompt
SHARE_OF_THE_WAY = 0.2  # from base to author, that a model which learnt this author has gone
BLOCKS_FROM = 1_000_000_000  # parameters of the base from which `sounds_like_this_author` blocks
BET_LEVEL = 0.0125  # of a limit, by a bet while questions are asked
LESS_LIKE_BASE = "sounds_less_like_the_base"
LAST_LEVEL = 0.975  # of the interval when no question is left: together 2.5 % on that side
MIN_GAP = 0.05  # between base and author, below which a share of it says nothing


@dataclass(frozen=True)
class Scores:
    """Voice scores of one judge, in the order of the prompts.

    Attributes:
        own: of the author's own answers, as long as the candidate's (`as_long_as`).
        base_with_posts: of the base model with posts of the author in its prompt; None: not asked.
            Fewer than prompts where a bet on the first of them was won: the rest were not asked.
        others: of other people's texts that the judge was not trained on, as long as the
            candidate's answers; None: there are none.
        others_documents: what each of them is of.
    """

    own: Sequence[float]
    candidate: Sequence[float]
    base: Sequence[float]
    base_with_posts: Sequence[float] | None = None
    others: Sequence[float] | None = None
    others_documents: Sequence[str] | None = None

    @property
    def on_the_way(self) -> list[float]:
        """`SHARE_OF_THE_WAY` from the base's score to the author's, a prompt each."""
        return [
            (1.0 - SHARE_OF_THE_WAY) * base + SHARE_OF_THE_WAY * own
            for base, own in zip(self.base, self.own, strict=True)
        ]

    def to_beat(self, *, base_alone: bool) -> list[tuple[Sequence[float], float]]:
        """What the candidate's scores must be above on average, each with its limit.

        Args:
            base_alone: above the base is enough; else as well above a part of the way to the
                author, and not `BELOW_POSTS_BY` below the base with posts, where it was asked.
        """
        compared: list[tuple[Sequence[float], float]] = [(self.base, 0.0)]
        if not base_alone:
            compared.append((self.on_the_way, 0.0))
            if self.base_with_posts is not None:
                compared.append((self.base_with_posts, -BELOW_POSTS_BY))
        return compared


@dataclass(frozen=True)
class VoiceCompared:
    """Mean scores under one judge, each with its interval.

    Attributes:
        over_base: candidate − base; `over_posts`: candidate − base with posts in the prompt;
            `over_way`: candidate − `Scores.on_the_way`, None: measured before `gate-12`.
        gap_closed: share of the way from base to author that the candidate has gone; None when
            base and author are too close to speak of a way.
        floor: of other people's texts that the judge has not seen; None: there are none. The
            ceiling is `own`, the author's unseen posts.
        stopped: on which side of its limits a bet says that the candidate is (`stopped_at`).
        last_over_base, last_over_posts, last_over_way: the lower ends of the intervals that decide
            where no bet does, at `LAST_LEVEL`; None: measured by a gate before `gate-9` (the way:
            `gate-12`), or not asked.
        posts_prompts: how many prompts `over_posts` is of; None: all.
        posts_stopped: as `stopped`, of the base with posts alone.
    """

    own: Interval
    candidate: Interval
    base: Interval
    base_with_posts: Interval | None
    over_base: Interval
    over_posts: Interval | None
    gap_closed: Interval | None
    floor: Interval | None = None
    stopped: Side | None = None
    last_over_base: float | None = None
    last_over_posts: float | None = None
    over_way: Interval | None = None
    last_over_way: float | None = None
    posts_prompts: int | None = None
    posts_stopped: Side | None = None

    @property
    def is_less_like_the_base(self) -> bool:
        """Above the base and a part of the way, and not `BELOW_POSTS_BY` below it with posts."""
        if self.stopped is not None:
            return self.stopped == "above"
        low, low_of_posts = self.over_base.low, self.over_posts.low if self.over_posts else None
        if self.last_over_base is not None:
            low, low_of_posts = self.last_over_base, self.last_over_posts
        if self.last_over_way is not None:
            low = min(low, self.last_over_way)
        beside_posts = low_of_posts is not None and low_of_posts >= -BELOW_POSTS_BY
        return low > 0 and (beside_posts or self.posts_stopped == "above")

    @property
    def scale(self) -> str:
        """What the scores lie between, for a sentence about them; empty: not measured."""
        if self.floor is None:
            return ""
        return (
            f" (other people {self.floor.value:.2f}, the author's unseen posts "
            f"{self.own.value:.2f})"
        )


@dataclass(frozen=True)
class Voice:
    """What the voice scores found.

    Attributes:
        prompts: held-out prompts that candidate and base answered with the same context.
        against_all: told apart from other people and the base model.
        against_people: told apart from other people alone; None: there is nobody else's text.
        why_not: why there is no score; empty when there is one.
        of_prompts: how many would have been asked, had fewer not decided; None: no more.
    """

    prompts: int
    against_all: VoiceCompared | None = None
    against_people: VoiceCompared | None = None
    why_not: str = field(default="")
    of_prompts: int | None = None

    @property
    def count(self) -> str:
        """`30 of 54 held-out questions`."""
        more = self.of_prompts is not None and self.of_prompts > self.prompts
        return f"{self.prompts}{f' of {self.of_prompts}' if more else ''} held-out questions"


def scores_of(judge: VoiceJudge, texts: Sequence[str]) -> list[float]:
    """Scores of answers in [0, 1]; an empty answer scores 0."""
    return judge.score_all([JudgedAnswer("", text) for text in texts])


def as_long_as(own: Sequence[str], answers: Sequence[str]) -> list[str]:
    """The author's texts, each cut to the number of words of the answer beside it.

    An empty answer cuts nothing: it has no length to be compared at.
    """
    return [
        " ".join(text.split()[: len(answer.split()) or None])
        for text, answer in zip(own, answers, strict=True)
    ]


def unseen_texts(hands: Sequence[WriterSample], answers: Sequence[str]) -> list[tuple[str, str]]:
    """Other people's texts beside as many answers, each as long as its answer.

    Returns:
        (document, text), as many of each hand as there are, in turn; fewer than answers where
        there are not so many.
    """
    named = ([(f"{hand.name}/{name}", text) for name, text in hand.passages] for hand in hands)
    turns = zip_longest(*named)
    dealt = [one for turn in turns for one in turn if one is not None][: len(answers)]
    cut = as_long_as([text for _, text in dealt], answers[: len(dealt)])
    return [(document, text) for (document, _), text in zip(dealt, cut, strict=True)]


def measure_voice(
    documents: Sequence[str],
    *,
    against_all: Scores,
    against_people: Scores | None,
    of_prompts: int | None = None,
) -> Voice:
    """Compare scores prompt by prompt.

    Args:
        documents: id of the document that each prompt is about, in an order drawn by lot.
        of_prompts: how many there are, of which these were asked.
        against_all, against_people: two judges' scores of the same answers.
    """
    return Voice(
        prompts=len(documents),
        against_all=_compared(documents, against_all),
        against_people=(
            _compared(documents, against_people, base_alone=True) if against_people else None
        ),
        of_prompts=of_prompts,
    )


def stopped_at(documents: Sequence[str], scores: Scores, *, base_alone: bool) -> Side | None:
    """Whether the candidate is above all that it must beat; None: not yet known.

    Bet is on the first prompt of each document, which are independent, as long as one likes: the
    claim is about the author's posts, not about those that happen to be asked about.

    Args:
        base_alone: as of `Scores.to_beat`.
    """
    sides = [
        _side(documents, scores.candidate, other, limit)
        for other, limit in scores.to_beat(base_alone=base_alone)
    ]
    if "below" in sides:
        return "below"
    return None if None in sides else "above"


def beside_posts(documents: Sequence[str], scores: Scores) -> Side | None:
    """On which side the candidate is of the base with posts alone; as `stopped_at`.

    Once it is above, that base, whose prompts are the longest, need be asked no more.
    """
    if scores.base_with_posts is None:
        return None
    return _side(documents, scores.candidate, scores.base_with_posts, -BELOW_POSTS_BY)


def _side(
    documents: Sequence[str], mine: Sequence[float], other: Sequence[float], limit: float
) -> Side | None:
    """Of as many prompts as the other one was asked."""
    some = list(enumerate(documents[: len(other)]))
    first = sorted({name: at for at, name in reversed(some)}.values())
    return decided(
        [(1.0 + mine[at] - other[at]) / 2.0 for at in first],
        limit=(1.0 + limit) / 2.0,
        above=BET_LEVEL,
        below=BET_LEVEL,
    )


def is_decided(voice: Voice, *, parameters: int | None) -> bool:
    """Whether more prompts would change no claim that may refuse.

    Args:
        parameters: of the base model; with fewer than `BLOCKS_FROM` only one of them may.
    """
    wanted = [voice.against_all]
    if parameters is None or parameters >= BLOCKS_FROM:
        wanted.append(voice.against_people)
    return all(one is None or one.stopped is not None for one in wanted)


def not_measured(prompts: int, why: str) -> Voice:
    """No voice score, for a reason that the claims repeat."""
    return Voice(prompts=prompts, why_not=why)


def _compared(
    documents: Sequence[str], scores: Scores, *, base_alone: bool = False
) -> VoiceCompared:
    own, candidate, base = scores.own, scores.candidate, scores.base
    with_posts = scores.base_with_posts
    of_posts = len(with_posts) if with_posts else 0

    def last(other: Sequence[float]) -> float:
        apart = bootstrap.of_means(
            [candidate[: len(other)], other],
            lambda means: means[0] - means[1],
            groups=documents[: len(other)],
            level=LAST_LEVEL,
        )
        return apart.low

    gap = bootstrap.paired_difference(own, base, groups=documents)
    closed = None
    if gap.low > 0 and gap.value >= MIN_GAP:
        closed = bootstrap.of_means(
            [candidate, base, own],
            lambda means: (means[0] - means[1]) / (means[2] - means[1]),
            groups=documents,
        )
    return VoiceCompared(
        own=bootstrap.mean(own, groups=documents),
        candidate=bootstrap.mean(candidate, groups=documents),
        base=bootstrap.mean(base, groups=documents),
        base_with_posts=(
            bootstrap.mean(with_posts, groups=documents[:of_posts]) if with_posts else None
        ),
        over_base=bootstrap.paired_difference(candidate, base, groups=documents),
        over_posts=(
            bootstrap.paired_difference(
                candidate[:of_posts], with_posts, groups=documents[:of_posts]
            )
            if with_posts
            else None
        ),
        gap_closed=closed,
        stopped=stopped_at(documents, scores, base_alone=base_alone),
        last_over_base=last(base),
        last_over_posts=last(with_posts) if with_posts else None,
        over_way=bootstrap.paired_difference(candidate, scores.on_the_way, groups=documents),
        last_over_way=None if base_alone else last(scores.on_the_way),
        posts_prompts=of_posts if 0 < of_posts < len(documents) else None,
        posts_stopped=None if base_alone else beside_posts(documents, scores),
        floor=(
            bootstrap.mean(scores.others, groups=scores.others_documents) if scores.others else None
        ),
    )
