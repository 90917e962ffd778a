"""How near answers are to the author's style by an encoder that a person names; decides nothing.

Belongs here: which texts are scored, the measure's place in the gate. Does not belong here: the
encoder (`twin_resources/quality/judges/style_encoder.py`), comparing (`style/encoded_style.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twin_assets.evaluation.measures.measure import Measure, MeasureContext, NotTaken
from twin_assets.evaluation.served.answer_measures import Judges
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet
from twin_assets.evaluation.style import encoded_style, voice_scores
from twin_assets.evaluation.style.encoded_style import EncodedStyle
from twin_resources.quality.judges.style_encoder import StyleSimilarity
from twin_resources.quality.judges.texts import WriterSample

OF_BASE = "encoded style"  # what its scores of the base's answers are known as


def _announce(scores: BaseScores, prompts: PromptSet, judges: Judges) -> None:
    if judges.style is not None:
        scores.want(OF_BASE, judges.style.revision, prompts.held_out)


def compare_styles(
    prompts: PromptSet,
    answers: PromptAnswers,
    scores: BaseScores,
    style: StyleSimilarity,
    unseen: Sequence[WriterSample] = (),
) -> EncodedStyle:
    """Cosines of author, candidate and base on the same questions, and of other people's texts.

    Args:
        unseen: other people's texts: the floor.
    """
    mine = [answers.candidate[at].text for at in prompts.held_out]
    own = voice_scores.as_long_as(prompts.own[: len(mine)], mine)
    foreign = voice_scores.unseen_texts(unseen, mine)

    def score(_positions: Sequence[int], texts: Sequence[str]) -> list[float]:
        return style.score_texts(texts)

    return encoded_style.compare_encoded(
        style.name,
        candidate=style.score_texts(mine),
        base=scores.scores(OF_BASE, answers.base, score),
        author=style.score_texts(own),
        others=style.score_texts([text for _, text in foreign]),
        documents=prompts.documents[: len(mine)],
        others_documents=[document for document, _ in foreign],
    )


def _take(context: MeasureContext) -> EncodedStyle | NotTaken | None:
    judges = context.known.judges
    if judges.style is None:
        return NotTaken(judges.style_why_not) if judges.style_why_not else None
    if context.too_few:
        return None
    unseen = context.known.unseen
    return compare_styles(context.asked, context.said, context.scores, judges.style, unseen)


def _metadata(found: EncodedStyle) -> Mapping[str, float]:
    figures = {
        "style": round(found.candidate.value, 3),
        "style_of_base_model": round(found.base.value, 3),
        "style_of_author": round(found.author.value, 3),
    }
    if found.others is not None:
        figures["style_of_other_people"] = round(found.others.value, 3)
    return figures


MEASURE = Measure(
    name="encoded_style",
    value=EncodedStyle,
    take=_take,
    announce=_announce,
    lines=encoded_style.lines,
    metadata=_metadata,
    lines_without=lambda why: [f"Style encoder: no figures, {why}."],
    reason_under="style encoder",
)
