"""Cosine Delta on the bundled authors, on a model's manner, and on the two shared authors."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path

import pytest

from twin_assets.corpus.markdown_cleaning import clean_markdown
from twin_assets.evaluation.style import delta
from twin_assets.evaluation.style.delta import DocumentText, measure_delta, place, profile_of
from twin_assets.instructions.answer_passages import passages_of
from twin_resources.errors import TwinError
from twin_resources.quality.judges.texts import bundled_hands

FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


@pytest.fixture(scope="module")
def hands() -> dict[str, list[DocumentText]]:
    return {
        hand.name: [DocumentText(*one) for one in hand.passages]
        for hand in bundled_hands(without=[])
    }


def split(texts: list[DocumentText], held_out: int) -> tuple[list[DocumentText], list[str]]:
    documents = sorted({one.document for one in texts})
    held = set(documents[-held_out:])
    return (
        [one for one in texts if one.document not in held],
        [one.text for one in texts if one.document in held],
    )


def test_unseen_posts_stand_with_their_author_and_others_do_not(
    hands: dict[str, list[DocumentText]],
) -> None:
    training, unseen = split(hands["mara-lindqvist"], 12)
    others, foreign = split(hands["tomas-okafor"], 12)

    found = measure_delta(training, {"tomas": others}, candidate=unseen, base=foreign)

    assert found.separation is not None
    assert found.separation > 0.98
    assert found.candidate is not None
    assert found.base is not None
    assert found.candidate.closer_than.value > 0.95
    assert 0.25 < found.candidate.as_close_as.value < 0.75
    assert found.candidate.position.low > 0.8
    assert found.base.closer_than.value < 0.8
    assert found.base.as_close_as.high < 0.05
    assert found.base.position.high < 0.3
    assert found.base.distance.low > found.candidate.distance.high


def test_a_hand_that_is_the_authors_own_is_not_told_apart(
    hands: dict[str, list[DocumentText]],
) -> None:
    """The check of the measure itself fails where there is nothing to tell."""
    documents = sorted({one.document for one in hands["mara-lindqvist"]})
    random.Random(1).shuffle(documents)
    half = set(documents[::2])
    mine = [one for one in hands["mara-lindqvist"] if one.document in half]
    same = [one for one in hands["mara-lindqvist"] if one.document not in half]

    found = measure_delta(mine, {"namesake": same}, candidate=[one.text for one in same])

    assert found.separation is not None
    assert not found.separates
    assert found.separation < 0.9
    assert "does not tell" in delta.lines(found)[-1]


def test_the_base_is_in_the_population_and_not_in_the_separation(
    hands: dict[str, list[DocumentText]],
) -> None:
    training, unseen = split(hands["mara-lindqvist"], 12)
    others = {"tomas": hands["tomas-okafor"]}
    alone = profile_of(training, others)
    # Its manner alone: with somebody's words it would be somebody.
    chatty = [
        DocumentText(str(n), one.text.replace(", ", " and it is "))
        for n, one in enumerate(training)
    ]

    both = profile_of(training, others | {"base model": chatty})
    found = measure_delta(training, others | {"base model": chatty}, candidate=unseen)

    assert set(both.reference) == {"tomas", "base model"}
    assert both.separation == pytest.approx(alone.separation, abs=0.02)
    assert set(found.reference_pools) == {"tomas", "base model"}


def test_features_are_words_of_everybody_and_no_ones_subject(
    hands: dict[str, list[DocumentText]],
) -> None:
    found = profile_of(hands["mara-lindqvist"], {"tomas": hands["tomas-okafor"]}).features

    assert {"the", ",", ".", "and", "of"} <= set(found)
    assert len(found) > 40
    often = Counter(
        word
        for one in hands["mara-lindqvist"]
        for word in re.findall(r"[a-z]{6,}", one.text.casefold())
    )
    subjects = [word for word, count in often.most_common(30) if count > 40]
    everywhere = {"people", "little", "before", "always", "nothing", "should", "without"}
    assert not (set(subjects) - everywhere) & set(found[:40])


def test_a_hand_of_few_pools_takes_no_feature_away(hands: dict[str, list[DocumentText]]) -> None:
    others = {"tomas": hands["tomas-okafor"]}
    few = {
        "base model": [DocumentText(str(n), "It is a thing that is used. " * 20) for n in range(8)]
    }

    with_few = profile_of(hands["mara-lindqvist"], others | few)

    assert with_few.features == profile_of(hands["mara-lindqvist"], others).features
    assert len(with_few.reference["base model"]) < delta.FEWEST_POOLS


def test_typography_and_markdown_are_nobodys_habit() -> None:
    plain = list(delta._tokens('He said "don\'t" - twice...'))
    typed = list(delta._tokens("**He** said “don’t” – _twice_..."))

    assert plain == typed == ["he", "said", '"', "don't", '"', "-", "twice", "..."]


def test_too_few_words_measure_nothing_and_say_so(hands: dict[str, list[DocumentText]]) -> None:
    training, unseen = split(hands["mara-lindqvist"], 12)

    with pytest.raises(TwinError, match="import more posts"):
        profile_of(training[:8], {"tomas": hands["tomas-okafor"]})
    found = measure_delta(training, {}, candidate=unseen)
    assert found.candidate is None
    assert "0 of other people" in found.why_not
    assert delta.lines(found)[0].startswith("Cosine Delta: not measured, ")
    assert place(profile_of(training, {"t": hands["tomas-okafor"]}), ["A few words."]) is None


def test_an_author_in_another_script_is_not_measured_and_is_told_why(
    hands: dict[str, list[DocumentText]],
) -> None:
    chance = random.Random(1)
    words = ["今日は", "雨が", "降る", "明日も", "晴れる", "川の", "水が", "高い"]
    own = [
        DocumentText(str(n), "、".join(chance.choice(words) for _ in range(90)) + "。")
        for n in range(60)
    ]

    found = measure_delta(own, hands, candidate=[one.text for one in own[:20]])

    assert found.candidate is None
    assert "the same language" in delta.lines(found)[0]


def test_it_tells_the_two_shared_authors_apart(shared_posts: Path) -> None:
    """A fifth of each one's posts; all of them give .996."""
    one, other = (prose(shared_posts / name) for name in ("skeeto", "jbranchaud-til"))

    assert profile_of(one, {"jbranchaud": other}).separation >= delta.SEPARATES
    assert profile_of(other, {"skeeto": one}).separation >= delta.SEPARATES

    shuffled = [*one, *other]
    random.Random(2).shuffle(shuffled)
    middle = len(shuffled) // 2
    mixed = profile_of(shuffled[:middle], {"mixed": shuffled[middle:]})
    assert mixed.separation < 0.7


def prose(folder: Path) -> list[DocumentText]:
    files = sorted([*folder.glob("_posts/*.markdown"), *folder.glob("*/*.md")])[::5]
    bodies = ((path, FRONT_MATTER.sub("", path.read_text(encoding="utf-8"))) for path in files)
    return [
        DocumentText(path.stem, passage.plain)
        for path, body in bodies
        for passage in passages_of(clean_markdown(body))
    ]
