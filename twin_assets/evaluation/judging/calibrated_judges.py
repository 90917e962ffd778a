"""Calibrate the judges that score a candidate's answers, once per author, and store them.

Scope: topic, voice and sentence judges for the gate; the reason for a missing judge.
Out of scope: assembling judges (`twin_resources/quality/judges/panel.py`, also for the loop), their
material (`judging/judge_material.py`), and certificates (the gate needs none: it compares with the
base model).

If a judge is missing, its claim is undecided and gives the reason. A trial does not start without
the deciding judges.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twin_assets.evaluation.served.served_judges import Judges
from twin_resources.quality.judges.judge_kind import JudgeDependencies, JudgeKind, JudgeMaterial
from twin_resources.quality.judges.panel import assemble_judges
from twin_resources.quality.judges.sentence_support import SentenceJudge, SentenceSupport
from twin_resources.quality.judges.topic import TOPIC
from twin_resources.quality.judges.voice import VOICE, create_people_only_voice_judge

if TYPE_CHECKING:
    from twin_resources.models.embedder.embedder import Embedder
    from twin_resources.storage.tables.tables import Tables


def calibrate_judges(
    material: JudgeMaterial,
    tables: Tables,
    embedder: Embedder,
    *,
    load_sentence_judge: Callable[[], SentenceJudge] | None = None,
    kinds: Sequence[JudgeKind[Any]] = (TOPIC, VOICE),
    has_people_judge: bool = True,
) -> Judges:
    """Return one author's judges; a judge that cannot be calibrated is None, with a reason.

    Args:
        load_sentence_judge: function that loads the configured model for single sentences; None if
            no model is configured.
        kinds: kinds of judges to calibrate.
        has_people_judge: whether to train the voice judge against other people only.
    """
    embed = embedder.embed
    dependencies = JudgeDependencies(tables, embed, embedder.revision)
    panel = assemble_judges(material, dependencies, kinds=kinds)
    voice = panel.get(VOICE)
    sentence_support = SentenceSupport(embed, embedder=embedder.revision)
    return Judges(
        load_sentence_judge=load_sentence_judge or (lambda: sentence_support),
        gateway_sentence_judge=sentence_support if load_sentence_judge else None,
        topic=panel.get(TOPIC),
        voice=voice,
        voice_vs_people=create_people_only_voice_judge(material, dependencies)
        if voice and has_people_judge
        else None,
        topic_missing_reason=panel.missing_reason(TOPIC),
        voice_missing_reason=panel.missing_reason(VOICE),
    )
