"""The judges that score a candidate's answers, calibrated on the author once and kept.

Scope: topic, voice and support as the gate has them; why one is missing.
Out of scope: putting judges together (`twin_resources/quality/judges/panel.py`, for the
loop too), what they are made of (`judged/judge_material.py`), certificates (a gate compares with
the base, it does not bet).

Where one is missing its claim is not decided, and says why; a trial is not begun without those that
decide.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twin_assets.evaluation.served.answer_measures import Judges
from twin_resources.quality.judges.judge_kind import JudgeKind, JudgeMaterial, JudgeNeeds
from twin_resources.quality.judges.panel import assemble
from twin_resources.quality.judges.sentence_support import SentenceJudge, SentenceSupport
from twin_resources.quality.judges.support import SupportJudge
from twin_resources.quality.judges.topic import TOPIC
from twin_resources.quality.judges.voice import VOICE, voice_of_people

if TYPE_CHECKING:
    from twin_resources.models.embedder.embedder import Embedder
    from twin_resources.storage.tables.tables import Tables


def calibrated(
    material: JudgeMaterial,
    tables: Tables,
    embedder: Embedder,
    *,
    entailment: Callable[[], SentenceJudge] | None = None,
    kinds: Sequence[JudgeKind[Any]] = (TOPIC, VOICE),
) -> Judges:
    """Topic, voice and support for one author; what cannot be calibrated is missing, with why.

    Args:
        entailment: loads the model that a person named for single sentences; None: none is.
        kinds: that are calibrated.
    """
    embed, needs = embedder.embed, JudgeNeeds(tables, embedder.embed, embedder.revision)
    panel = assemble(material, needs, kinds=kinds)
    voice = panel.of(VOICE)
    of_sentences = SentenceSupport(embed, embedder=embedder.revision)
    return Judges(
        support=SupportJudge(embed, embedder=embedder.revision),
        of_sentences=entailment or (lambda: of_sentences),
        of_gateway=of_sentences if entailment else None,
        topic=panel.of(TOPIC),
        voice=voice,
        voice_people=voice_of_people(material, needs) if voice else None,
        topic_why_not=panel.why_not(TOPIC),
        voice_why_not=panel.why_not(VOICE),
    )
