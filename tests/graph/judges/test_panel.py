"""Test that the judges of a bundled sample author are certified and stored.

The embedder is real. The other writers are the other sample authors. There are only two, so the
voice is certified with documents on which it was not trained, and the panel reports that.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from twin_resources.models.embedder.embedder import Embedder
from twin_resources.quality.judges.judge import Judge, JudgedAnswer, judge_id
from twin_resources.quality.judges.judge_kind import JudgeDependencies, JudgeMaterial, TopicPair
from twin_resources.quality.judges.negative_probes import (
    PROBE_KINDS,
    AuthorAnswer,
    create_negative_probes,
)
from twin_resources.quality.judges.panel import (
    Panel,
    assemble_panel,
    probe_differences,
    select_deciding_claims,
)
from twin_resources.quality.judges.stored_results import JUDGES_TABLE
from twin_resources.quality.judges.terms import JudgeTerms
from twin_resources.quality.judges.texts import WriterSample, bundled_writers, split_for_probes
from twin_resources.quality.judges.voice import load_or_calibrate_voice
from twin_resources.statistics import judge_certification
from twin_resources.storage.tables.tables import Tables

AUTHOR = "mara-lindqvist"


def ask_about(document: str, passage: str) -> str:
    title = document.split("-", 3)[-1].replace("-", " ")
    return f"What do you say about {title}, and about {' '.join(passage.split()[3:9])}?"


@pytest.fixture(scope="module")
def material() -> JudgeMaterial:
    writers = {writer.name: writer for writer in bundled_writers(exclude=[])}
    passages = writers.pop(AUTHOR).passages
    held_out = {post for post, _ in passages[-45:]}
    return JudgeMaterial(
        author=AUTHOR,
        pairs=[
            TopicPair(ask_about(post, text), text, post)
            for post, text in passages
            if post not in held_out
        ],
        prompts=[
            AuthorAnswer(f"{post}-{index}", post, ask_about(post, text), text, (text,))
            for index, (post, text) in enumerate(passages)
            if post in held_out
        ],
        other_texts=split_for_probes(list(writers.values())),
    )


def build_panel(material: JudgeMaterial, tables: Tables, embedder: Embedder) -> Panel:
    return assemble_panel(material, JudgeDependencies(tables, embedder.embed, embedder.revision))


@pytest.mark.long
def test_each_built_in_judge_is_certified_once_for_its_claim(
    material: JudgeMaterial, tables: Tables, embedder: Embedder
) -> None:
    terms = JudgeTerms(refusal_reason="paid = false", next_step="leave it so")
    dependencies = JudgeDependencies(
        tables, embedder.embed, embedder.revision, "openai/gpt-4o-mini", terms
    )
    assembled = assemble_panel(material, dependencies)

    assert assembled.claims == ("topic", "voice")
    assert assembled.vetoes == ("support",)
    assert assembled.notes[1] == "no general judge: paid = false; leave it so"
    certificate_by_claim = {member.judge.claim: member.certificate for member in assembled.members}
    assert set(certificate_by_claim["topic"].bounds) == {"off_topic", "shuffled"}
    assert min(certificate_by_claim["topic"].bounds.values()) >= 0.3
    assert certificate_by_claim["voice"].bounds["another_author"] >= 0.3
    assert "only one or two" in assembled.notes[0]

    version = tables.lance_version(JUDGES_TABLE, AUTHOR)
    reordered = JudgeMaterial(
        author=AUTHOR,
        pairs=[*material.pairs[5:], *material.pairs[:5]],  # as after another import
        prompts=material.prompts,
        other_texts=material.other_texts,
    )
    repeated = build_panel(reordered, tables, embedder)

    assert [judge_id(member.judge) for member in repeated.members] == [
        judge_id(member.judge) for member in assembled.members
    ], "a judge changed, which requires a new baseline"
    assert tables.lance_version(JUDGES_TABLE, AUTHOR) == version


def test_a_voice_is_recalibrated_when_another_author_joins(
    material: JudgeMaterial, tables: Tables
) -> None:
    own = WriterSample(
        AUTHOR, tuple((pair.document_id, pair.answer) for pair in material.pairs[:60])
    )
    oona, tomas = (
        WriterSample(writer.name, writer.passages[:60])
        for writer in bundled_writers(exclude=[AUTHOR])
    )

    def negatives(*others: WriterSample) -> set[str]:
        return set(load_or_calibrate_voice(tables, AUTHOR, own, others, base_revision="").negatives)

    assert negatives(tomas, oona) == {"oona-petrie", "tomas-okafor"}
    joined = WriterSample(
        "joined", tuple((f"j{name}", text[::-1]) for name, text in tomas.passages)
    )
    assert negatives(tomas, oona, joined) == {"oona-petrie", "tomas-okafor", "joined"}
    # Further authors change little, so the score and its measurements are kept.
    more = [WriterSample(f"more-{n}", joined.passages) for n in range(3)]
    assert negatives(tomas, oona, joined, *more) == {"oona-petrie", "tomas-okafor", "joined"}


@pytest.mark.parametrize(
    ("certified_claims", "deciding_claims"),
    [
        (["topic", "voice", "support"], ("topic", "voice")),
        (["topic", "support"], ()),  # topic alone would always promote the base model
        (["voice"], ()),
        (["general", "topic"], ("general",)),
    ],
)
def test_topic_and_voice_decide_only_together(
    certified_claims: list[str], deciding_claims: tuple[str, ...]
) -> None:
    assert select_deciding_claims(certified_claims) == deciding_claims


class ConstantJudge:
    """A judge that gives every answer the same score."""

    name, revision, claim = "constant", "1", "general"

    def score_all(self, answers: Sequence[JudgedAnswer]) -> list[float]:
        return [0.8 for _ in answers]


class InvertedJudge(ConstantJudge):
    """A judge that prefers answers that are not among the passages."""

    name = "inverted"

    def score_all(self, answers: Sequence[JudgedAnswer]) -> list[float]:
        return [1.0 if answer.answer not in answer.passages else 0.0 for answer in answers]


@pytest.mark.parametrize("judge", [ConstantJudge(), InvertedJudge()], ids=["constant", "inverted"])
def test_a_judge_that_detects_no_bad_answer_is_not_certified(
    judge: Judge, material: JudgeMaterial
) -> None:
    others = [text for writer in material.other_texts.for_probes for _, text in writer.passages]
    training = [(pair.document_id, pair.answer) for pair in material.pairs]
    probes = create_negative_probes(
        material.prompts, training_passages=training, other_passages=others
    )

    result = judge_certification.certify(
        judge_id(judge), judge.claim, probe_differences(judge, probes)
    )

    assert set(result.counts) == set(PROBE_KINDS)
    assert min(result.counts.values()) >= 40
    assert not result.certified
