"""Test which scores meet the claims about the voice.

Real judges score invented writers: an author, another person and a base model.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from twin_assets.evaluation.measures import author_voice, voice_scores
from twin_assets.evaluation.measures.voice_scores import (
    Voice,
    VoiceScores,
    measure_voice,
    score_texts,
)
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


def measure(
    judges: tuple[VoiceJudge, VoiceJudge],
    candidate: list[str],
    *,
    base: list[str] | None = None,
    with_posts: list[str] | None = None,
) -> Voice:
    base = base or write_texts(write_as_assistant, 5)
    with_posts = with_posts if with_posts is not None else write_texts(write_as_assistant, 6)

    def score_all(judge: VoiceJudge) -> VoiceScores:
        return VoiceScores(
            own=score_texts(judge, write_texts(write_as_author, 7)),
            candidate=score_texts(judge, candidate),
            base=score_texts(judge, base),
            base_with_posts=score_texts(judge, with_posts) if with_posts else None,
        )

    return measure_voice(
        DOCUMENTS, against_all=score_all(judges[0]), against_people=score_all(judges[1])
    )


def test_a_model_with_the_authors_voice_meets_both_claims(
    judges: tuple[VoiceJudge, VoiceJudge],
) -> None:
    voice = measure(judges, write_texts(write_as_author, 8))

    unlike_base, like_author = (
        author_voice.decide_less_like_base(voice),
        author_voice.decide_like_author(voice),
    )

    assert unlike_base.passed is True
    assert like_author.passed is True
    assert unlike_base.value is not None
    assert unlike_base.value > 0.5
    assert voice.against_people is not None
    assert voice.against_people.gap_closed is not None
    assert voice.against_people.gap_closed.value == pytest.approx(1.0, abs=0.05)


def test_a_model_that_writes_like_the_base_fails(judges: tuple[VoiceJudge, VoiceJudge]) -> None:
    voice = measure(judges, write_texts(write_as_assistant, 9))

    claim = author_voice.decide_less_like_base(voice)

    assert claim.passed is False
    assert claim.threshold == 0.0
    assert "36 held-out questions" in claim.detail


def test_another_authors_voice_fails(judges: tuple[VoiceJudge, VoiceJudge]) -> None:
    """The judge that compares only with people scores such a voice below the base."""
    voice = measure(judges, write_texts(write_as_neighbor, 10))

    assert author_voice.decide_like_author(voice).passed is False


def test_a_voice_must_cover_a_fifth_of_the_distance(judges: tuple[VoiceJudge, VoiceJudge]) -> None:
    """One of six answers by the author lifts the voice above the base, but not far enough.

    Five of six answers lift it past a fifth of the distance.
    """
    one_of_six = [
        *write_texts(write_as_assistant, 9, 5 * PROMPT_COUNT // 6),
        *write_texts(write_as_author, 8, PROMPT_COUNT // 6),
    ]
    five_of_six = [
        *write_texts(write_as_author, 8, 5 * PROMPT_COUNT // 6),
        *write_texts(write_as_assistant, 9, PROMPT_COUNT // 6),
    ]

    near_base, near_author = (
        measure(judges, one_of_six).against_all,
        measure(judges, five_of_six).against_all,
    )

    assert near_base is not None
    assert near_author is not None
    assert near_base.over_base.low > 0
    assert near_base.over_way.low < 0
    claim = author_voice.decide_less_like_base(measure(judges, one_of_six))
    assert claim.passed is False
    assert "past 20 % of the way from the base to the author" in claim.detail
    assert near_author.gap_closed is not None
    assert near_author.gap_closed.low > voice_scores.MIN_GAP_SHARE
    assert author_voice.decide_less_like_base(measure(judges, five_of_six)).passed is True


def test_a_voice_must_exceed_the_base_with_posts(judges: tuple[VoiceJudge, VoiceJudge]) -> None:
    texts = [
        *write_texts(write_as_author, 11, 2 * PROMPT_COUNT // 3),
        *write_texts(write_as_assistant, 12, PROMPT_COUNT // 3),
    ]
    better = measure(judges, texts)
    worse = measure(judges, texts, with_posts=write_texts(write_as_author, 13))

    assert author_voice.decide_less_like_base(better).passed is True
    claim = author_voice.decide_less_like_base(worse)
    assert claim.passed is False
    assert "posts of the author in its prompt" in claim.detail


def test_fewer_prompts_with_posts_are_compared_among_themselves(
    judges: tuple[VoiceJudge, VoiceJudge],
) -> None:
    half_texts = write_texts(write_as_assistant, 6)[: PROMPT_COUNT // 2]
    voice = measure(judges, write_texts(write_as_author, 8), with_posts=half_texts).against_all
    without_posts = measure(judges, write_texts(write_as_author, 8), with_posts=[]).against_all

    assert voice is not None
    assert without_posts is not None
    assert (voice.posts_prompts, voice.posts_stopped) == (PROMPT_COUNT // 2, "above")
    assert voice.over_posts is not None
    assert voice.over_posts.low > 0
    assert voice.over_base == without_posts.over_base


def test_the_claim_needs_answers_with_posts(judges: tuple[VoiceJudge, VoiceJudge]) -> None:
    voice = measure(judges, write_texts(write_as_author, 8), with_posts=[])

    claim = author_voice.decide_less_like_base(voice)

    assert claim.passed is None
    assert "posts in its prompt was not asked" in claim.detail


def test_too_few_questions_or_no_other_texts_decide_nothing(
    judges: tuple[VoiceJudge, VoiceJudge],
) -> None:
    judge = judges[0]
    few_scores = [[0.9] * 29, [0.8] * 29, [0.1] * 29]
    voice = measure_voice(
        [str(n) for n in range(29)],
        against_all=VoiceScores(few_scores[0], few_scores[1], few_scores[2], few_scores[2]),
        against_people=None,
    )

    assert author_voice.decide_less_like_base(voice).passed is None
    assert "30 are needed" in author_voice.decide_less_like_base(voice).detail
    voice = measure((judge, judge), write_texts(write_as_author, 8))
    without_people = Voice(voice.prompts, voice.against_all, None)
    assert author_voice.decide_like_author(without_people).passed is None
    assert "no other people's texts" in author_voice.decide_like_author(without_people).detail
    unmeasured = Voice(40, why_not="no calibration")
    assert author_voice.decide_less_like_base(unmeasured).detail == "not decided: no calibration"


def test_no_share_is_reported_without_a_distance(judges: tuple[VoiceJudge, VoiceJudge]) -> None:
    """The base already writes like the author."""
    voice = measure(judges, write_texts(write_as_author, 8), base=write_texts(write_as_author, 14))

    assert voice.against_people is not None
    assert voice.against_people.gap_closed is None
    assert "have the same score" in author_voice.decide_like_author(voice).detail


def test_the_authors_answers_are_cut_to_the_candidates_length() -> None:
    assert voice_scores.match_lengths(["a b c d", "e f", "g h"], ["1 2", "1 2 3", ""]) == [
        "a b",
        "e f",
        "g h",
    ]
