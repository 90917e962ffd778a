"""The claims of the voice: what meets them, what does not, and what decides nothing.

Scores come from real judges on invented hands: an author, other people, and a base model's manner.
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


def author(chance: random.Random) -> str:
    thing, other = chance.sample(THINGS, 2)
    return f"I fixed the {thing}. Took an hour. The {other} can wait; it always does. "


def neighbour(chance: random.Random) -> str:
    thing, other = chance.sample(THINGS, 2)
    return f"We took the {thing} apart, slowly, and then the {other}, and we were glad of it. "


def assistant(chance: random.Random) -> str:
    thing, other = chance.sample(THINGS, 2)
    return f"It is important to note that the {thing} and the {other} can be used in many ways: "


def said_by(writer: Writer, seed: int, count: int = PROMPTS) -> list[str]:
    chance = random.Random(seed)
    return ["".join(writer(chance) for _ in range(3)) for _ in range(count)]


def source(name: str, writer: Writer, seed: int) -> WriterSample:
    texts = said_by(writer, seed, 60)
    return WriterSample(name, tuple((f"{name}-{n // 2}", text) for n, text in enumerate(texts)))


@pytest.fixture(scope="module")
def judges() -> tuple[VoiceJudge, VoiceJudge]:
    own, people = source("author", author, 1), source("neighbour", neighbour, 2)
    base = source("base model", assistant, 3)
    return (
        VoiceJudge(calibrate_voice(own, [people, base])),
        VoiceJudge(calibrate_voice(own, [people])),
    )


def measured(
    judges: tuple[VoiceJudge, VoiceJudge],
    candidate: list[str],
    *,
    base: list[str] | None = None,
    with_posts: list[str] | None = None,
) -> Voice:
    base = base or said_by(assistant, 5)
    with_posts = with_posts if with_posts is not None else said_by(assistant, 6)

    def scored(judge: VoiceJudge) -> Scores:
        return Scores(
            own=score_texts(judge, said_by(author, 7)),
            candidate=score_texts(judge, candidate),
            base=score_texts(judge, base),
            base_with_posts=score_texts(judge, with_posts) if with_posts else None,
        )

    return measure_voice(
        DOCUMENTS,
        against_all=scored(judges[0]),
        against_people=scored(judges[1]),
    )


def test_a_model_in_the_authors_voice_meets_both(judges: tuple[VoiceJudge, VoiceJudge]) -> None:
    found = measured(judges, said_by(author, 8))

    less, like = (
        author_voice.sounds_less_like_the_base(found),
        author_voice.sounds_like_this_author(found),
    )

    assert less.passed is True
    assert like.passed is True
    assert less.value is not None
    assert less.value > 0.5
    assert found.against_people is not None
    assert found.against_people.gap_closed is not None
    assert found.against_people.gap_closed.value == pytest.approx(1.0, abs=0.05)


def test_a_model_that_talks_as_the_base_does_is_refused(
    judges: tuple[VoiceJudge, VoiceJudge],
) -> None:
    found = measured(judges, said_by(assistant, 9))

    claim = author_voice.sounds_less_like_the_base(found)

    assert claim.passed is False
    assert claim.threshold == 0.0
    assert "36 held-out questions" in claim.detail


def test_another_authors_model_is_no_longer_the_base_and_not_this_author(
    judges: tuple[VoiceJudge, VoiceJudge],
) -> None:
    """By people alone it scores like the neighbour it is; the base scores in between."""
    found = measured(judges, said_by(neighbour, 10))

    assert author_voice.sounds_like_this_author(found).passed is False


def test_who_sounds_hardly_more_like_the_author_than_the_base_does_is_refused(
    judges: tuple[VoiceJudge, VoiceJudge],
) -> None:
    """One answer of six is the author's: above the base by its interval, and not by a fifth of
    the way. Of five answers of six both are shown."""
    few = [*said_by(assistant, 9, 5 * PROMPTS // 6), *said_by(author, 8, PROMPTS // 6)]
    many = [*said_by(author, 8, 5 * PROMPTS // 6), *said_by(assistant, 9, PROMPTS // 6)]

    hardly, far = measured(judges, few).against_all, measured(judges, many).against_all

    assert hardly is not None
    assert far is not None
    assert hardly.over_base.low > 0
    assert hardly.over_way is not None
    assert hardly.over_way.low < 0
    refused = author_voice.sounds_less_like_the_base(measured(judges, few))
    assert refused.passed is False
    assert "past 20 % of the way from the base to the author" in refused.detail
    assert far.gap_closed is not None
    assert far.gap_closed.low > voice_scores.MIN_GAP_SHARE
    assert author_voice.sounds_less_like_the_base(measured(judges, many)).passed is True


def test_a_record_of_a_former_gate_has_no_way_and_its_verdict_stays(
    judges: tuple[VoiceJudge, VoiceJudge],
) -> None:
    found = measured(judges, said_by(author, 8))
    assert found.against_all is not None
    former = replace(
        found,
        against_all=replace(found.against_all, over_way=None, last_over_way=None),
    )

    claim = author_voice.sounds_less_like_the_base(former)

    assert claim.passed is True
    assert "of the way" not in claim.detail


def test_posts_in_the_prompt_that_do_better_refuse(
    judges: tuple[VoiceJudge, VoiceJudge],
) -> None:
    most = [*said_by(author, 11, 2 * PROMPTS // 3), *said_by(assistant, 12, PROMPTS // 3)]
    ahead = measured(judges, most)
    behind = measured(judges, most, with_posts=said_by(author, 13))

    assert author_voice.sounds_less_like_the_base(ahead).passed is True
    refused = author_voice.sounds_less_like_the_base(behind)
    assert refused.passed is False
    assert "posts of the author in its prompt" in refused.detail


def test_posts_that_were_beaten_on_the_first_prompts_are_compared_on_these(
    judges: tuple[VoiceJudge, VoiceJudge],
) -> None:
    half = said_by(assistant, 6)[: PROMPTS // 2]
    found = measured(judges, said_by(author, 8), with_posts=half).against_all
    never = measured(judges, said_by(author, 8), with_posts=[]).against_all

    assert found is not None
    assert never is not None
    assert (found.posts_prompts, found.posts_stopped) == (PROMPTS // 2, "above")
    assert found.over_posts is not None
    assert found.over_posts.low > 0
    assert found.over_base == never.over_base


def test_the_base_with_posts_has_to_be_asked(judges: tuple[VoiceJudge, VoiceJudge]) -> None:
    found = measured(judges, said_by(author, 8), with_posts=[])

    claim = author_voice.sounds_less_like_the_base(found)

    assert claim.passed is None
    assert "posts in its prompt was not asked" in claim.detail


def test_too_few_questions_and_no_others_decide_nothing(
    judges: tuple[VoiceJudge, VoiceJudge],
) -> None:
    judge = judges[0]
    few = [[0.9] * 29, [0.8] * 29, [0.1] * 29]
    found = measure_voice(
        [str(n) for n in range(29)],
        against_all=Scores(few[0], few[1], few[2], few[2]),
        against_people=None,
    )

    assert author_voice.sounds_less_like_the_base(found).passed is None
    assert "30 are needed" in author_voice.sounds_less_like_the_base(found).detail
    alone = measured((judge, judge), said_by(author, 8))
    nobody = Voice(alone.prompts, alone.against_all, None)
    assert author_voice.sounds_like_this_author(nobody).passed is None
    assert "no other people's texts" in author_voice.sounds_like_this_author(nobody).detail
    why = not_measured(40, "no calibration")
    assert author_voice.sounds_less_like_the_base(why).detail == "not decided: no calibration"


def test_a_way_that_is_none_is_not_shared_out(judges: tuple[VoiceJudge, VoiceJudge]) -> None:
    """A base that already writes like the author: no gap, no share of it."""
    found = measured(judges, said_by(author, 8), base=said_by(author, 14))

    assert found.against_people is not None
    assert found.against_people.gap_closed is None
    assert "have the same score" in author_voice.sounds_like_this_author(found).detail


def test_the_authors_answer_is_no_longer_than_the_one_beside_it() -> None:
    assert voice_scores.match_lengths(["a b c d", "e f", "g h"], ["1 2", "1 2 3", ""]) == [
        "a b",
        "e f",
        "g h",
    ]
