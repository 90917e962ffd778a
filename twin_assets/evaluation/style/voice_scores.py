"""Whether a model's answers sound like the author: the voice score of candidate, base and author.

Belongs here: comparing voice scores on the same held-out prompts, its two claims.
Does not belong here: the classifier (`twin_resources/quality/judges/voice.py`), asking the models,
the prompt with the author's posts in it (`posts_in_prompt.py`).

Two scores, because two things are meant by "sounds like": against other people *and* answers of
the base model, a model gains by unlearning how a chat model writes; against other people alone it
gains only by what is this author's. A 135M model showed the first (+.39 on one author) and not the
second (+.007), so the second is stated always and blocks only where it can be expected.
Method: paired bootstrap over documents (`bootstrap.py`).

A short text is scored lower than a long one of the same hand (.61 at 30 words, .88 at 60, of one
author), so that the author's answers are cut to the length of the candidate's: `as_long_as`.
A score is read between its floor, other people's texts that the judge has not seen, and its
ceiling, the author's own.

How the gate uses it: `scores_of(judge, texts)` for each column that is not known yet (the base's
may come from a former gate) → `measure_voice` → the two claims and `lines`.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from twin_assets.evaluation.statistics.sequential import Side, decided
from twin_resources.quality.judges.judge import JudgedAnswer
from twin_resources.quality.judges.texts import WriterSample
from twin_resources.quality.judges.voice import VoiceJudge
from twin_resources.registry.moves import GateClaim
from twin_resources.statistics import bootstrap
from twin_resources.statistics.bootstrap import Interval

FEWEST_PROMPTS = 30
BELOW_POSTS_BY = 0.02  # may be lost to the base model that has posts of the author in its prompt
BLOCKS_FROM = 1_000_000_000  # parameters of the base from which `sounds_like_this_author` blocks
BET_LEVEL = 0.0125  # of a limit, by a bet while questions are asked
LAST_LEVEL = 0.975  # of the interval when no question is left: together 2.5 % on that side
SMALLEST_GAP = 0.05  # between base and author, below which a share of it says nothing
LESS_LIKE_BASE, LIKE_AUTHOR = "sounds_less_like_the_base", "sounds_like_this_author"


@dataclass(frozen=True)
class Scores:
    """Voice scores of one judge, in the order of the prompts.

    Attributes:
        own: of the author's own answers, as long as the candidate's (`as_long_as`).
        base_with_posts: of the base model with posts of the author in its prompt; None: not asked.
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


@dataclass(frozen=True)
class VoiceCompared:
    """Mean scores under one judge, each with its interval.

    Attributes:
        judge: revision.
        negatives: whom the author was told apart from.
        auc: of the judge, on documents that it was not trained on.
        over_base: candidate − base; `over_posts`: candidate − base with posts in the prompt.
        gap_closed: share of the way from base to author that the candidate has gone; None when
            base and author are too close to speak of a way.
        floor: of other people's texts that the judge has not seen; None: there are none. The
            ceiling is `own`, the author's unseen posts.
        stopped: on which side of its limits a bet says that the candidate is (`stopped_at`).
        last_over_base, last_over_posts: the lower ends of the intervals that decide where no bet
            does, at `LAST_LEVEL`; None: measured by a gate before `gate-9`, or not asked.
    """

    judge: str
    negatives: tuple[str, ...]
    auc: float
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

    @property
    def is_less_like_the_base(self) -> bool:
        """Above the base, and not `BELOW_POSTS_BY` below the base with posts."""
        if self.stopped is not None:
            return self.stopped == "above"
        low, low_of_posts = self.over_base.low, self.over_posts.low if self.over_posts else None
        if self.last_over_base is not None:
            low, low_of_posts = self.last_over_base, self.last_over_posts
        return low > 0 and low_of_posts is not None and low_of_posts >= -BELOW_POSTS_BY

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
        documents: of which they are.
        against_all: told apart from other people and the base model.
        against_people: told apart from other people alone; None: there is nobody else's text.
        why_not: why there is no score; empty when there is one.
        of_prompts: how many would have been asked, had fewer not decided; None: no more.
    """

    prompts: int
    documents: int = 0
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
    against_all: tuple[VoiceJudge, Scores],
    against_people: tuple[VoiceJudge, Scores] | None,
    of_prompts: int | None = None,
) -> Voice:
    """Compare scores prompt by prompt.

    Args:
        documents: id of the document that each prompt is about, in an order drawn by lot.
        of_prompts: how many there are, of which these were asked.
        against_all, against_people: a judge with its scores of the same answers.
    """
    return Voice(
        prompts=len(documents),
        documents=len(set(documents)),
        against_all=_compared(documents, *against_all),
        against_people=(
            _compared(documents, *against_people, beside_posts=False) if against_people else None
        ),
        of_prompts=of_prompts,
    )


def stopped_at(documents: Sequence[str], scores: Scores, *, beside_posts: bool) -> Side | None:
    """Whether the differences to the base are above their limits; None: not yet known.

    Bet is on the first prompt of each document, which are independent, as long as one likes: the
    claim is about the author's posts, not about those that happen to be asked about.

    Args:
        beside_posts: the base with posts counts as well, where it was asked.
    """
    first = list({name: at for at, name in reversed(list(enumerate(documents)))}.values())
    compared = [(scores.base, 0.0)]
    if beside_posts and scores.base_with_posts is not None:
        compared.append((scores.base_with_posts, -BELOW_POSTS_BY))
    sides = [
        decided(
            [(1.0 + scores.candidate[at] - other[at]) / 2.0 for at in sorted(first)],
            limit=(1.0 + limit) / 2.0,
            above=BET_LEVEL,
            below=BET_LEVEL,
        )
        for other, limit in compared
    ]
    if "below" in sides:
        return "below"
    return None if None in sides else "above"


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


def sounds_less_like_the_base(voice: Voice) -> GateClaim:
    """Above the base, and not below the base that reads posts of the author.

    Both by the lower end of the 95 % interval: candidate − base > 0, candidate − base with posts
    ≥ −`BELOW_POSTS_BY`.
    """
    compared = voice.against_all
    undecided = _undecided(LESS_LIKE_BASE, voice, compared)
    if undecided is not None or compared is None:
        return undecided or GateClaim(LESS_LIKE_BASE, None, None, 0.0, "not decided")
    against = (
        f"voice score {compared.candidate.value:.2f} against {compared.base.value:.2f} of the base "
        f"model: {compared.over_base.told()} on {voice.count}{compared.scale}"
    )
    if compared.over_posts is None or compared.base_with_posts is None:
        detail = f"not decided: {against}; the base with posts in its prompt was not asked"
        return GateClaim(LESS_LIKE_BASE, None, compared.over_base.value, 0.0, detail)
    detail = (
        f"{against}; {compared.base_with_posts.value:.2f} of the base with posts of the author in "
        f"its prompt: {compared.over_posts.told()}, limit -{BELOW_POSTS_BY}"
    )
    if compared.stopped is not None:
        detail += f"; a bet on {compared.stopped} these limits was won"
    met = compared.is_less_like_the_base
    return GateClaim(LESS_LIKE_BASE, met, compared.over_base.value, 0.0, detail)


def sounds_like_this_author(voice: Voice) -> GateClaim:
    """Above the base when the author is told apart from other people alone.

    Whether it may refuse a release is the gate's to say, by `BLOCKS_FROM`.
    """
    compared = voice.against_people
    undecided = _undecided(LIKE_AUTHOR, voice, compared)
    if undecided is not None or compared is None:
        return undecided or GateClaim(LIKE_AUTHOR, None, None, 0.0, "not decided")
    closed = compared.gap_closed
    way = "base and author score alike"
    if closed is not None:
        way = (
            f"{100 * closed.value:.0f} % of the way from base to author "
            f"({compared.base.value:.2f} to {compared.own.value:.2f}; 95 %: "
            f"{100 * closed.low:.0f} to {100 * closed.high:.0f} %)"
        )
    detail = (
        f"voice score against other people alone: {compared.over_base.told(3)} over the base model "
        f"on {voice.count}{compared.scale}, {way}"
    )
    low = compared.over_base.low if compared.last_over_base is None else compared.last_over_base
    met = low > 0 if compared.stopped is None else compared.stopped == "above"
    return GateClaim(LIKE_AUTHOR, met, compared.over_base.value, 0.0, detail)


def lines(voice: Voice) -> list[str]:
    """For the report."""
    if voice.why_not:
        return [f"Voice: not measured, {voice.why_not}."]
    table = [
        "| voice score against | author | candidate | base | base with posts in the prompt "
        "| candidate − base | candidate − base with posts | way from base to author |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for compared in (voice.against_all, voice.against_people):
        if compared is not None:
            cells = [
                compared.own,
                compared.candidate,
                compared.base,
                compared.base_with_posts,
                compared.over_base,
                compared.over_posts,
                compared.gap_closed,
            ]
            table.append(
                f"| {', '.join(compared.negatives)} (AUC {compared.auc:.3f}) | "
                + " | ".join("not asked" if cell is None else cell.told() for cell in cells)
                + " |"
            )
    table += ["", f"{voice.prompts} held-out questions of {voice.documents} documents."]
    compared = (voice.against_all, voice.against_people)
    floors = [one.floor for one in compared if one is not None and one.floor is not None]
    if floors:
        told = " and ".join(floor.told() for floor in floors)
        table[-1] += f" Floor, other people's texts that no judge was trained on: {told}; ceiling"
        table[-1] += ", the author's unseen posts: the column author."
    return table


def _undecided(name: str, voice: Voice, compared: VoiceCompared | None) -> GateClaim | None:
    why = voice.why_not
    if not why and voice.prompts < FEWEST_PROMPTS:
        why = f"{voice.prompts} held-out questions, {FEWEST_PROMPTS} are needed; import more posts"
    if not why and compared is None:
        why = "there is nobody else's text to tell this voice from"
    return GateClaim(name, None, None, 0.0, f"not decided: {why}") if why else None


def _compared(
    documents: Sequence[str], judge: VoiceJudge, scores: Scores, *, beside_posts: bool = True
) -> VoiceCompared:
    own, candidate, base = scores.own, scores.candidate, scores.base
    with_posts, known = scores.base_with_posts, judge.calibration

    def last(other: Sequence[float]) -> float:
        apart = bootstrap.of_means(
            [candidate, other],
            lambda means: means[0] - means[1],
            groups=documents,
            level=LAST_LEVEL,
        )
        return apart.low

    gap = bootstrap.paired_difference(own, base, groups=documents)
    closed = None
    if gap.low > 0 and gap.value >= SMALLEST_GAP:
        closed = bootstrap.of_means(
            [candidate, base, own],
            lambda means: (means[0] - means[1]) / (means[2] - means[1]),
            groups=documents,
        )
    return VoiceCompared(
        judge=judge.revision,
        negatives=tuple(sorted(name for name, count in known.negatives.items() if count)),
        auc=known.auc,
        own=bootstrap.mean(own, groups=documents),
        candidate=bootstrap.mean(candidate, groups=documents),
        base=bootstrap.mean(base, groups=documents),
        base_with_posts=bootstrap.mean(with_posts, groups=documents) if with_posts else None,
        over_base=bootstrap.paired_difference(candidate, base, groups=documents),
        over_posts=(
            bootstrap.paired_difference(candidate, with_posts, groups=documents)
            if with_posts
            else None
        ),
        gap_closed=closed,
        stopped=stopped_at(documents, scores, beside_posts=beside_posts),
        last_over_base=last(base),
        last_over_posts=last(with_posts) if with_posts else None,
        floor=(
            bootstrap.mean(scores.others, groups=scores.others_documents) if scores.others else None
        ),
    )
