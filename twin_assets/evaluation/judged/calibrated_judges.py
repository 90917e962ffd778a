"""The judges that score a candidate's answers, calibrated on the author once and kept.

Belongs here: putting topic, voice and support together for the gate; why one is missing.
Does not belong here: the scores (`twin_resources/quality/judges`), what they are made of
(`judged/judge_material.py`), certificates (a gate compares with the base, it does not bet).

They are the loop's judges, from the same tables: what the gate calibrates the trial finds.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from twin_assets.evaluation.served.answer_measures import Judges
from twin_resources.errors import TwinError
from twin_resources.quality.judges import stored
from twin_resources.quality.judges.panel import BASE_MODEL, JudgeMaterial
from twin_resources.quality.judges.sentence_support import SentenceJudge, SentenceSupport
from twin_resources.quality.judges.support import SupportJudge
from twin_resources.quality.judges.topic import TopicJudge, TopicNotCalibrated, TopicPair
from twin_resources.quality.judges.voice import VoiceJudge, WriterTexts

if TYPE_CHECKING:
    from twin_resources.models.embedder.embedder import Embedder
    from twin_resources.storage.tables.tables import Tables


def topic_judge(
    author: str, pairs: Sequence[TopicPair], tables: Tables, embedder: Embedder
) -> tuple[TopicJudge | None, str]:
    """The author's topic score alone; without one, why not."""
    try:
        scale = stored.topic_calibration(
            tables, author, pairs, embed=embedder.embed, embedder=embedder.revision
        )
    except TopicNotCalibrated as error:
        return None, f"{error.found}: {error.next_step}"
    return TopicJudge(scale, embedder.embed), ""


def calibrated(
    material: JudgeMaterial,
    tables: Tables,
    embedder: Embedder,
    *,
    entailment: Callable[[], SentenceJudge] | None = None,
) -> Judges:
    """Topic, voice and support for one author; what cannot be calibrated is missing, with why.

    Args:
        entailment: loads the model that a person named for single sentences; None: none is.
    """
    author, embed = material.author, embedder.embed
    topic, topic_why_not = topic_judge(author, material.pairs, tables, embedder)
    own = WriterTexts(author, tuple((pair.document_id, pair.answer) for pair in material.pairs))
    people = [WriterTexts(hand.name, hand.passages) for hand in material.others.training]
    answers = tuple((str(number), text) for number, text in enumerate(material.base_answers))
    everybody = [*people, WriterTexts(BASE_MODEL, answers)]
    voice = voice_people = None
    voice_why_not = ""
    try:
        voice = VoiceJudge(
            stored.voice_calibration(tables, author, own, everybody, base=material.base)
        )
        if sum(len(source.pieces()) for source in people):
            voice_people = VoiceJudge(
                stored.voice_calibration(
                    tables, author, own, people, base="", into=stored.PEOPLE_VOICE_TABLE
                )
            )
    except TwinError as error:
        voice_why_not = f"{error.found}: {error.next_step}"
    return Judges(
        support=SupportJudge(embed, embedder=embedder.revision),
        of_sentences=entailment or (lambda: SentenceSupport(embed, embedder=embedder.revision)),
        topic=topic,
        voice=voice,
        voice_people=voice_people,
        topic_why_not=topic_why_not,
        voice_why_not=voice_why_not,
    )
