"""Test that the gate and a trial use the same judges, and that missing judges are reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.recipes import import_recipe
from tests.unit.judges.word_vectors import embed
from twin_assets.evaluation.judging.calibrated_judges import calibrate_judges
from twin_assets.evaluation.judging.judge_material import build_topic_material
from twin_resources.quality.judges import panel, stored_results
from twin_resources.quality.judges.judge import JudgedAnswer, judge_id
from twin_resources.quality.judges.judge_kind import (
    JudgeDependencies,
    JudgeMaterial,
    JudgeUnavailableError,
    TopicPair,
)
from twin_resources.quality.judges.negative_probes import AuthorAnswer
from twin_resources.quality.judges.panel import assemble_panel
from twin_resources.quality.judges.texts import OtherTexts, bundled_writers, split_for_probes
from twin_resources.quality.judges.topic import TOPIC
from twin_resources.storage.tables.tables import Tables

AUTHOR = "mara-lindqvist"


class WordEmbedder:
    """An embedder that counts words."""

    revision = "words"
    embed = staticmethod(embed)


WORDS: Any = WordEmbedder()


@pytest.fixture(scope="module")
def material() -> JudgeMaterial:
    writers = {writer.name: writer for writer in bundled_writers(exclude=[])}
    passages = writers.pop(AUTHOR).passages
    training, held_out = passages[:120], passages[120:150]
    return JudgeMaterial(
        author=AUTHOR,
        pairs=[TopicPair(f"What of {text[:60]}?", text, document) for document, text in training],
        prompts=[
            AuthorAnswer(f"s{number}", document, f"What of {text[:60]}?", text, (text,))
            for number, (document, text) in enumerate(held_out)
        ],
        other_texts=split_for_probes(
            [replace(writer, passages=writer.passages[:80]) for writer in writers.values()]
        ),
        base_answers=[
            f"Certainly! Here are some important things, {n} of them." for n in range(60)
        ],
        base_revision="base-1",
    )


def test_a_trial_uses_the_judges_that_the_gate_calibrated(
    material: JudgeMaterial, tables: Tables
) -> None:
    gate_judges = calibrate_judges(material, tables, WORDS)
    kinds = ("topic_calibration", "voice_calibration", "voice_of_people_calibration")
    documents = [stored_results.read_documents(tables, kind, author=AUTHOR) for kind in kinds]
    assert all(documents)

    trial_panel = assemble_panel(material, JudgeDependencies(tables, embed, "words"))

    assert gate_judges.topic is not None
    assert gate_judges.voice is not None
    assert gate_judges.voice_vs_people is not None
    assert [judge_id(member.judge) for member in trial_panel.members[:2]] == [
        judge_id(judge) for judge in (gate_judges.topic, gate_judges.voice)
    ]
    assert documents == [
        stored_results.read_documents(tables, kind, author=AUTHOR) for kind in kinds
    ]


def test_without_a_deciding_judge_the_reason_is_reported_and_no_trial_starts(
    material: JudgeMaterial, tables: Tables
) -> None:
    small = replace(material, pairs=material.pairs[:5])
    dependencies = JudgeDependencies(tables, embed, "words")

    gate_judges = calibrate_judges(small, tables, WORDS)

    assert (gate_judges.topic, gate_judges.voice, gate_judges.voice_vs_people) == (None, None, None)
    assert gate_judges.topic_missing_reason.startswith("5 training pairs from")
    assert "40 texts per side are needed" in gate_judges.voice_missing_reason
    topic_judges = calibrate_judges(
        build_topic_material(AUTHOR, small.pairs), tables, WORDS, kinds=(TOPIC,)
    )
    assert (topic_judges.topic, topic_judges.topic_missing_reason) == (
        None,
        gate_judges.topic_missing_reason,
    )
    assert topic_judges.voice is None
    with pytest.raises(JudgeUnavailableError, match="5 training pairs"):
        assemble_panel(small, dependencies)
    single_author = replace(
        material, other_texts=OtherTexts((), (), has_unseen_writers=False), base_answers=()
    )
    assert "0 by others" in calibrate_judges(single_author, tables, WORDS).voice_missing_reason
    with pytest.raises(JudgeUnavailableError, match="0 by others"):
        assemble_panel(single_author, dependencies)


def test_the_recipe_for_a_judge_adds_a_judge(
    material: JudgeMaterial, tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Import the code of deploy/docs/contributing.md and add its judge to the tuple."""
    added = import_recipe("A judge", tmp_path / "brevity.py")
    monkeypatch.setattr(panel, "JUDGES", (*panel.JUDGES, added.BREVITY))

    assembled = assemble_panel(material, JudgeDependencies(tables, embed, "words"))

    member = assembled.members[-1]
    assert judge_id(member.judge) == "brevity@brevity-1"
    assert {probe.kind for probe in member.probes} == {"off_topic"}
    assert member.certificate.counts == {"off_topic": 30}
    assert not member.is_certified, "a judge of brevity cannot detect answers off the topic"
    assert panel.vetoing_claims() == ("support", "brevity")
    assert member.judge.score_all([JudgedAnswer("Why?", "word " * 400)]) == [0.5]
