"""The style of served answers by an encoder, here one that counts words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.evaluation.served.test_answer_measures import (
    HEDGED,
    asked,
    hands,
    judges,
    said_by,
    samples,
    scores_for,
)
from tests.unit.judges.word_vectors import embed
from twin_assets.evaluation.judged.calibrated_judges import placed_style
from twin_assets.evaluation.measures.style_similarity import MEASURE, OF_BASE, compare_styles
from twin_assets.evaluation.served.answer_measures import Judges
from twin_assets.evaluation.served.served_answers import PromptSet
from twin_resources.errors import TwinError
from twin_resources.quality.judges.judge_kind import TopicPair
from twin_resources.quality.judges.style_encoder import StyleEncoder, StyleSimilarity
from twin_resources.quality.judges.texts import WriterSample

__all__ = ["asked", "hands", "judges", "samples"]  # fixtures


@pytest.fixture(scope="module")
def style(hands: dict[str, WriterSample]) -> StyleSimilarity:
    own = [text for _, text in hands["mara-lindqvist"].passages[:120]]
    return StyleSimilarity(embed, encoder="words", name="style by words", texts=own)


def test_author_base_and_others_are_scored_alike_and_the_base_is_asked_once(
    asked: PromptSet,
    judges: Judges,
    style: StyleSimilarity,
) -> None:
    with_style = replace(judges, style=style)
    scores = scores_for(asked, with_style)
    own = said_by(asked, [" ".join(text.split()[:40]) for text in asked.own], "No.")
    unseen = [WriterSample("a hedger", tuple((f"d{at}", HEDGED.format(at)) for at in range(40)))]

    found = compare_styles(asked, own, scores, style, unseen)

    assert found.candidate == found.author
    assert found.others is not None
    # the same texts as the base's; a count of words hears more in them than in the author's
    assert found.others.value == pytest.approx(found.base.value, abs=1e-3)
    assert found.over_base.value == pytest.approx(found.author.value - found.base.value)
    assert found.position is None
    assert MEASURE.metadata(found)["style"] == round(found.author.value, 3)
    # the base's cosines are numbers now, and its answers are not asked for again
    hedging = said_by(asked, [HEDGED.format(at) for at in asked.held_out], "No.")
    again = compare_styles(asked, replace(hedging, base={}), scores, style, unseen)
    assert again.base == found.base
    assert again.over_base.value == pytest.approx(0.0, abs=1e-6)
    assert OF_BASE not in scores_for(asked, judges)._names, (
        "where no encoder is named nothing is asked for it"
    )


def test_an_encoder_that_cannot_be_had_or_placed_says_why() -> None:
    def absent() -> StyleEncoder:
        raise TwinError("fetch it", found="no such folder", next_step="name one")

    assert placed_style(absent, []) == (None, "no such folder; name one")


def test_too_few_texts_of_the_author_are_no_place(style: StyleSimilarity) -> None:
    class Words:
        name, revision = "style by words", "words"

        def embed(self, texts: list[str]) -> object:
            return embed(texts)

    pairs = [TopicPair("What?", f"Text {number}.", "d") for number in range(4)]
    found, why = placed_style(Words, pairs)  # pyright: ignore[reportArgumentType]
    assert found is None
    assert "4 training texts" in why
