"""Test which scores meet the claims about the voice.

Real judges score invented writers: an author, another person and a base model.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.evaluation.contexts import NO_JUDGES, make_context, make_prompts
from twin_assets.evaluation.measures import author_voice
from twin_assets.evaluation.measures.author_voice import (
    VoiceScores,
    decide_less_like_base,
    decide_like_author,
    place_claim,
    score_texts,
)
from twin_assets.evaluation.served.served_judges import Judges
from twin_resources.quality.judges.texts import WriterSample
from twin_resources.quality.judges.voice import VoiceJudge, calibrate_voice

OBJECTS = ("clock", "river", "bread", "lamp", "tower", "garden", "boat", "letter")
PROMPT_COUNT = 36
DOCUMENTS = [f"d{number // 2}" for number in range(PROMPT_COUNT)]
Writer = Callable[[random.Random], str]


def write_as_author(rng: random.Random) -> str:
    first, second = rng.sample(OBJECTS, 2)
    return f"I fixed the {first}. Took an hour. The {second} can wait; it always does. "


def write_as_neighbor(rng: random.Random) -> str:
    first, second = rng.sample(OBJECTS, 2)
    return f"We took the {first} apart, slowly, and then the {second}, and we were glad of it. "


def write_as_assistant(rng: random.Random) -> str:
    first, second = rng.sample(OBJECTS, 2)
    return f"It is important to note that the {first} and the {second} can be used in many ways: "


def write_texts(writer: Writer, seed: int, count: int = PROMPT_COUNT) -> list[str]:
    rng = random.Random(seed)
    return ["".join(writer(rng) for _ in range(3)) for _ in range(count)]


def make_sample(name: str, writer: Writer, seed: int) -> WriterSample:
    texts = write_texts(writer, seed, 60)
    return WriterSample(name, tuple((f"{name}-{n // 2}", text) for n, text in enumerate(texts)))


@pytest.fixture(scope="module")
def judges() -> tuple[VoiceJudge, VoiceJudge]:
    own, neighbor = (
        make_sample("author", write_as_author, 1),
        make_sample("neighbor", write_as_neighbor, 2),
    )
    base = make_sample("base model", write_as_assistant, 3)
    return (
        VoiceJudge(calibrate_voice(own, [neighbor, base])),
        VoiceJudge(calibrate_voice(own, [neighbor])),
    )


def score(
    judge: VoiceJudge,
    candidate: list[str],
    *,
    base: list[str] | None = None,
    with_posts: list[str] | None = None,
) -> VoiceScores:
    base = base or write_texts(write_as_assistant, 5)
    with_posts = write_texts(write_as_assistant, 6) if with_posts is None else with_posts
    return VoiceScores(
        DOCUMENTS,
        own=score_texts(judge, write_texts(write_as_author, 7)),
        candidate=score_texts(judge, candidate),
        base=score_texts(judge, base),
        base_with_posts=score_texts(judge, with_posts) if with_posts else (),
    )


def mix(author_share: float, seed: int = 8) -> list[str]:
    """Return texts of which the author wrote a share and a base model the others."""
    count = round(PROMPT_COUNT * author_share)
    return [
        *write_texts(write_as_author, seed, count),
        *write_texts(write_as_assistant, seed + 1, PROMPT_COUNT - count),
    ]


def test_a_model_with_the_authors_voice_meets_both_claims(
    judges: tuple[VoiceJudge, VoiceJudge],
) -> None:
    texts = write_texts(write_as_author, 8)

    unlike_base = decide_less_like_base(score(judges[0], texts))
    like_author = decide_like_author(score(judges[1], texts))

    assert (unlike_base.passed, like_author.passed) == (True, True)
    assert unlike_base.value is not None
    assert unlike_base.value > 0.5
    closed = re.search(r"(\d+) % of the way from the base to the author", like_author.detail)
    assert closed is not None
    assert 95 <= int(closed[1]) <= 105


def test_another_authors_voice_fails(judges: tuple[VoiceJudge, VoiceJudge]) -> None:
    """The judge that compares only with people scores such a voice below the base."""
    assert decide_like_author(score(judges[1], write_texts(write_as_neighbor, 10))).passed is False


@pytest.mark.parametrize(
    ("author_share", "with_posts", "met"),
    [
        (0.0, None, False),  # it writes like the base
        # one of six answers by the author lifts the voice above the base, but not far enough
        (1 / 6, None, False),
        (5 / 6, None, True),
        (2 / 3, None, True),
        (2 / 3, write_as_author, False),  # the base with posts in its prompt writes like the author
    ],
)
def test_a_voice_must_cover_a_fifth_of_the_distance_and_exceed_the_base_with_posts(
    judges: tuple[VoiceJudge, VoiceJudge],
    author_share: float,
    with_posts: Writer | None,
    met: bool,
) -> None:
    posts = write_texts(with_posts, 13) if with_posts else None
    scores = score(judges[0], mix(author_share), with_posts=posts)

    claim = decide_less_like_base(scores)

    assert claim.passed is met
    assert (claim.threshold, "36 held-out questions" in claim.detail) == (0.0, True)
    assert "past 20 % of the way from the base to the author" in claim.detail
    assert "base with posts of the author in its prompt" in claim.detail
    if author_share == 1 / 6:
        assert scores.over(scores.base).low > 0
        assert scores.over(scores.partway_scores).low < 0


def test_fewer_prompts_with_posts_are_compared_among_themselves(
    judges: tuple[VoiceJudge, VoiceJudge],
) -> None:
    half_texts = write_texts(write_as_assistant, 6)[: PROMPT_COUNT // 2]
    texts = write_texts(write_as_author, 8)
    half, none = (score(judges[0], texts, with_posts=posts) for posts in (half_texts, []))

    claim = decide_less_like_base(half, question_count=40)
    assert author_voice.beats_posts(half) == "above"
    assert half.over(half.base_with_posts).low > 0
    assert "found above the limit after the first 18 questions" in claim.detail
    assert "on 36 of 40 held-out questions" in claim.detail
    undecided = decide_less_like_base(none)
    assert undecided.passed is None
    assert "posts in its prompt was not asked" in undecided.detail
    assert undecided.value == claim.value


def test_too_few_questions_or_no_other_texts_decide_nothing(
    judges: tuple[VoiceJudge, VoiceJudge],
) -> None:
    def decide(question_count: int, judges: Judges) -> list[tuple[bool | None, str]]:
        context = make_context(make_prompts(question_count), judges=judges)
        claims = author_voice.MEASURE.decide_claims(context)
        return [(claim.passed, claim.detail.removeprefix("not decided: ")) for claim in claims]

    reason = "29 held-out questions, but 30 are needed; import more posts"
    assert decide(29, Judges(None, judges[0], judges[1])) == [(None, reason)] * 2
    assert decide(40, NO_JUDGES) == [(None, "no voice judge")] * 2
    no_texts = "there are no other people's texts to compare this voice with"
    assert decide(40, Judges(None, None, None)) == [(None, no_texts)] * 2
    reason = "0 held-out passages, but 30 are needed; import more posts"
    assert decide(0, NO_JUDGES) == [(None, reason)] * 2


def test_no_share_is_reported_without_a_distance(judges: tuple[VoiceJudge, VoiceJudge]) -> None:
    """The base already writes like the author."""
    own_texts = write_texts(write_as_author, 8)
    scores = score(judges[1], own_texts, base=write_texts(write_as_author, 14))

    assert "the base and the author have the same score" in decide_like_author(scores).detail


def test_the_authors_answers_are_cut_to_the_candidates_length() -> None:
    assert author_voice.match_lengths(["a b c d", "e f", "g h"], ["1 2", "1 2 3", ""]) == [
        "a b",
        "e f",
        "g h",
    ]


def make_scores(
    rise: float, *, rise_over_posts: float = 0.0, count: int = 40, questions_per_post: int = 1
) -> VoiceScores:
    """Return the scores of a candidate that scores `rise` above the base on each prompt."""
    candidate = [0.5 + rise] * count
    return VoiceScores(
        [f"d{number // questions_per_post}" for number in range(count)],
        own=candidate,
        candidate=candidate,
        base=[0.5] * count,
        base_with_posts=[0.5 + rise - rise_over_posts] * count,
    )


@pytest.mark.parametrize(("rise", "rise_over_posts", "side"), [
    (0.4, 0.2, "above"), (-0.4, 0.2, "below"), (0.4, -0.4, "below"), (0.0, 0.0, None),
    (0.4, -0.02, None),
])  # fmt: skip
def test_both_limits_decide_the_voice(
    rise: float, rise_over_posts: float, side: str | None
) -> None:
    scores = make_scores(rise, rise_over_posts=rise_over_posts)

    assert place_claim(scores) == side
    if side is not None:
        claim = decide_less_like_base(scores)
        assert claim.passed is (side == "above")
        assert claim.detail.endswith(f"; a sequential test decided: {side} these limits")


def test_a_decision_on_the_first_prompts_stays() -> None:
    """The base has forty answers without posts, but only thirty with posts."""
    documents = [f"d{number}" for number in range(40)]
    scores = VoiceScores(documents, [0.6] * 40, [0.5] * 40, [0.48] * 40, [0.1] * 30)

    assert author_voice.beats_posts(scores) == "above"
    assert place_claim(scores) is None
    assert decide_less_like_base(scores).passed is False, "20 % of the way to .60 is .504"
    assert decide_less_like_base(replace(scores, own=[0.5] * 40)).passed is True
    assert author_voice.beats_posts(replace(scores, base_with_posts=[0.1] * 3)) is None


@pytest.mark.parametrize(("share", "side"), [(0.0, "below"), (0.1, "below"), (0.2, None),
                                            (0.5, "above"), (1.2, "above")])  # fmt: skip
def test_a_voice_must_cover_a_share_of_the_distance_to_the_author(
    share: float, side: str | None
) -> None:
    """Each candidate beats the base with posts, and each but the first beats the base."""
    documents = [str(number) for number in range(100)]
    candidate = [0.1 + 0.7 * share] * 100
    scores = VoiceScores(documents, [0.8] * 100, candidate, [0.1] * 100, [0.0] * 100)

    assert place_claim(scores) == side
    assert place_claim(scores, base_only=True) == ("above" if share else None)


def test_questions_about_one_post_are_one_observation() -> None:
    assert place_claim(make_scores(0.4, rise_over_posts=0.4)) == "above"
    assert place_claim(make_scores(0.4, rise_over_posts=0.4, questions_per_post=10)) is None


@pytest.mark.long
def test_chance_decides_no_more_often_than_the_level() -> None:
    """A thousand candidates equal their base; each is tested after 30, 35, … 100 questions."""
    rng = random.Random(11)
    win_count = 0
    for _ in range(1000):
        base = [rng.betavariate(0.5, 1.5) for _ in range(100)]
        candidate = [rng.betavariate(0.5, 1.5) for _ in range(100)]
        documents = [str(number) for number in range(100)]
        win_count += any(
            place_claim(
                VoiceScores(documents[:end], [], candidate[:end], base[:end]), base_only=True
            )
            == "above"
            for end in range(30, 101, 5)
        )
    assert win_count / 1000 <= author_voice.BET_LEVEL + 0.008
