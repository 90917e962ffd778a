"""Test which scores meet or fail the claims on the voice.

Real judges score invented writers: an author, other people, and a base model.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from twin_assets.evaluation.measures import author_voice, voice_scores
from twin_assets.evaluation.measures.voice_scores import (
    Scores,
    Voice,
    measure_voice,
    not_measured,
    score_texts,
)
from twin_resources.quality.judges.texts import WriterSample
from twin_resources.quality.judges.voice import VoiceJudge, calibrate_voice

THINGS = ("clock", "river", "bread", "lamp", "tower", "garden", "boat", "letter")
PROMPTS = 36
DOCUMENTS = [f"d{number // 2}" for number in range(PROMPTS)]
Writer = Callable[[random.Random], str]


def author(generator: random.Random) -> str:
    thing, other = generator.sample(THINGS, 2)
    return f"I fixed the {thing}. Took an hour. The {other} can wait; it always does. "


def neighbour(generator: random.Random) -> str:
    thing, other = generator.sample(THINGS, 2)
    return f"We took the {thing} apart, slowly, and then the {other}, and we were glad of it. "


def assistant(generator: random.Random) -> str:
    thing, other = generator.sample(THINGS, 2)
    return f"It is important to note that the {thing} and the {other} can be used in many ways: "


def write_texts(writer: Writer, seed: int, count: int = PROMPTS) -> list[str]:
    generator = random.Random(seed)
    return ["".join(writer(generator) for _ in range(3)) for _ in range(count)]


def make_sample(name: str, writer: Writer, seed: int) -> WriterSample:
    texts = write_texts(writer, seed, 60)
    return WriterSample(name, tuple((f"{name}-{n // 2}", text) for n, text in enumerate(texts)))


@pytest.fixture(scope="module")
def judges() -> tuple[VoiceJudge, VoiceJudge]:
    own, people = make_sample("author", author, 1), make_sample("neighbour", neighbour, 2)
    base = make_sample("base model", assistant, 3)
    return (
        VoiceJudge(calibrate_voice(own, [people, base])),
        VoiceJudge(calibrate_voice(own, [people])),
    )


def measure(
    judges: tuple[VoiceJudge, VoiceJudge],
    candidate: list[str],
    *,
    base: list[str] | None = None,
    with_posts: list[str] | None = None,
) -> Voice:
    base = base or write_texts(assistant, 5)
    with_posts = with_posts if with_posts is not None else write_texts(assistant, 6)

    def score_all(judge: VoiceJudge) -> Scores:
        return Scores(
            own=score_texts(judge, write_texts(author, 7)),
            candidate=score_texts(judge, candidate),
            base=score_texts(judge, base),
            base_with_posts=score_texts(judge, with_posts) if with_posts else None,
        )

    return measure_voice(
        DOCUMENTS,
        against_all=score_all(judges[0]),
        against_people=score_all(judges[1]),
    )


def test_a_model_in_the_authors_voice_meets_both(judges: tuple[VoiceJudge, VoiceJudge]) -> None:
    voice = measure(judges, write_texts(author, 8))

    less, like = (
        author_voice.sounds_less_like_the_base(voice),
        author_voice.sounds_like_this_author(voice),
    )

    assert less.passed is True
    assert like.passed is True
    assert less.value is not None
    assert less.value > 0.5
    assert voice.against_people is not None
    assert voice.against_people.gap_closed is not None
    assert voice.against_people.gap_closed.value == pytest.approx(1.0, abs=0.05)


def test_a_model_that_writes_like_the_base_fails(
    judges: tuple[VoiceJudge, VoiceJudge],
) -> None:
    voice = measure(judges, write_texts(assistant, 9))

    claim = author_voice.sounds_less_like_the_base(voice)

    assert claim.passed is False
    assert claim.threshold == 0.0
    assert "36 held-out questions" in claim.detail


def test_another_authors_voice_fails(
    judges: tuple[VoiceJudge, VoiceJudge],
) -> None:
    """The judge against people only scores it like the neighbour, below the base."""
    voice = measure(judges, write_texts(neighbour, 10))

    assert author_voice.sounds_like_this_author(voice).passed is False


def test_a_voice_must_cover_a_fifth_of_the_distance(
    judges: tuple[VoiceJudge, VoiceJudge],
) -> None:
    """One answer of six is the author's: above the base by its interval, and not by a fifth of
    the way. Of five answers of six both are shown."""
    few = [*write_texts(assistant, 9, 5 * PROMPTS // 6), *write_texts(author, 8, PROMPTS // 6)]
    many = [*write_texts(author, 8, 5 * PROMPTS // 6), *write_texts(assistant, 9, PROMPTS // 6)]

    hardly, far = measure(judges, few).against_all, measure(judges, many).against_all

    assert hardly is not None
    assert far is not None
    assert hardly.over_base.low > 0
    assert hardly.over_way is not None
    assert hardly.over_way.low < 0
    refused = author_voice.sounds_less_like_the_base(measure(judges, few))
    assert refused.passed is False
    assert "past 20 % of the way from the base to the author" in refused.detail
    assert far.gap_closed is not None
    assert far.gap_closed.low > voice_scores.MIN_GAP_SHARE
    assert author_voice.sounds_less_like_the_base(measure(judges, many)).passed is True


def test_an_earlier_record_without_the_distance_keeps_its_verdict(
    judges: tuple[VoiceJudge, VoiceJudge],
) -> None:
    voice = measure(judges, write_texts(author, 8))
    assert voice.against_all is not None
    former = replace(
        voice,
        against_all=replace(voice.against_all, over_way=None, last_over_way=None),
    )

    claim = author_voice.sounds_less_like_the_base(former)

    assert claim.passed is True
    assert "of the way" not in claim.detail


def test_the_base_with_posts_must_be_beaten(
    judges: tuple[VoiceJudge, VoiceJudge],
) -> None:
    most = [*write_texts(author, 11, 2 * PROMPTS // 3), *write_texts(assistant, 12, PROMPTS // 3)]
    ahead = measure(judges, most)
    behind = measure(judges, most, with_posts=write_texts(author, 13))

    assert author_voice.sounds_less_like_the_base(ahead).passed is True
    refused = author_voice.sounds_less_like_the_base(behind)
    assert refused.passed is False
    assert "posts of the author in its prompt" in refused.detail


def test_fewer_prompts_with_posts_are_compared_among_themselves(
    judges: tuple[VoiceJudge, VoiceJudge],
) -> None:
    half = write_texts(assistant, 6)[: PROMPTS // 2]
    voice = measure(judges, write_texts(author, 8), with_posts=half).against_all
    never = measure(judges, write_texts(author, 8), with_posts=[]).against_all

    assert voice is not None
    assert never is not None
    assert (voice.posts_prompts, voice.posts_stopped) == (PROMPTS // 2, "above")
    assert voice.over_posts is not None
    assert voice.over_posts.low > 0
    assert voice.over_base == never.over_base


def test_the_claim_needs_answers_with_posts(judges: tuple[VoiceJudge, VoiceJudge]) -> None:
    voice = measure(judges, write_texts(author, 8), with_posts=[])

    claim = author_voice.sounds_less_like_the_base(voice)

    assert claim.passed is None
    assert "posts in its prompt was not asked" in claim.detail


def test_too_few_questions_or_no_other_texts_decide_nothing(
    judges: tuple[VoiceJudge, VoiceJudge],
) -> None:
    judge = judges[0]
    few = [[0.9] * 29, [0.8] * 29, [0.1] * 29]
    voice = measure_voice(
        [str(n) for n in range(29)],
        against_all=Scores(few[0], few[1], few[2], few[2]),
        against_people=None,
    )

    assert author_voice.sounds_less_like_the_base(voice).passed is None
    assert "30 are needed" in author_voice.sounds_less_like_the_base(voice).detail
    alone = measure((judge, judge), write_texts(author, 8))
    nobody = Voice(alone.prompts, alone.against_all, None)
    assert author_voice.sounds_like_this_author(nobody).passed is None
    assert "no other people's texts" in author_voice.sounds_like_this_author(nobody).detail
    why = not_measured(40, "no calibration")
    assert author_voice.sounds_less_like_the_base(why).detail == "not decided: no calibration"


def test_no_share_is_reported_without_a_distance(judges: tuple[VoiceJudge, VoiceJudge]) -> None:
    """The base already writes like the author."""
    voice = measure(judges, write_texts(author, 8), base=write_texts(author, 14))

    assert voice.against_people is not None
    assert voice.against_people.gap_closed is None
    assert "have the same score" in author_voice.sounds_like_this_author(voice).detail


def test_the_authors_answers_are_cut_to_the_candidates_length() -> None:
    assert voice_scores.match_lengths(["a b c d", "e f", "g h"], ["1 2", "1 2 3", ""]) == [
        "a b",
        "e f",
        "g h",
    ]
