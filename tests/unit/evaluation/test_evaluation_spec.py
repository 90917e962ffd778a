"""Test the hash of an evaluation's inputs and the keys of the base's scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl

from tests.unit.evaluation.served.test_base_scores import EmptyTables
from tests.unit.judges.word_vectors import embed
from twin_assets.evaluation import measurement
from twin_assets.evaluation.evaluation_spec import EvaluatedModel, EvaluationSpec, JudgingContext
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.served.served_answers import PromptAnswers
from twin_assets.evaluation.served.served_judges import Judges
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render
from twin_resources.quality.judges.support import SupportJudge

TALK = [
    *render(DEFAULT_TEMPLATE, author_name="Ada", question="Why brass?"),
    {"role": "assistant", "content": "It wears well."},
]
SAMPLES = pl.DataFrame(
    {
        "sample_id": [f"s{number}" for number in range(4)],
        "document_id": ["d1", "d1", "d2", "d2"],
        "split": ["train"] * 4,
        "question": ["Why brass?"] * 4,
        "answer": ["It wears well."] * 4,
        "messages": [TALK] * 4,
        "context_chunk_ids": [["c1"]] * 4,
    }
)
SPEC = EvaluationSpec(
    checkpoint="c",
    candidate=EvaluatedModel("candidate", "c", Path("base")),
    base=EvaluatedModel("base model", "b", Path("base")),
    incumbent=None,
    template=DEFAULT_TEMPLATE.hash,
    dataset=SAMPLES,
    dataset_version="d",
    trained_on=frozenset(),
    token_budget=1000,
    questions=30,
)


def test_another_judge_changes_the_inputs_hash() -> None:
    judged = replace(SPEC, nli_model="an-entailment-model")

    same = SPEC.inputs_hash("i", "gate-1")
    assert same == replace(SPEC).inputs_hash("i", "gate-1")
    others = [
        SPEC.inputs_hash("", "gate-1"),
        SPEC.inputs_hash("i", "gate-2"),
        judged.inputs_hash("i", "gate-1"),
    ]
    assert len({same, *others}) == 4


def test_each_doubling_of_the_authors_changes_the_inputs_hash() -> None:
    def with_others(count: int) -> str:
        return replace(SPEC, other_author_count=count).inputs_hash("i", "gate-1")

    assert with_others(0) != with_others(1)
    assert with_others(1) == with_others(2) != with_others(3)


def test_scores_of_the_base_belong_to_one_server() -> None:
    kept = MeasurementCache(EmptyTables(), "ada")  # pyright: ignore[reportArgumentType]
    judges = Judges(SupportJudge(embed, embedder="words"), None, None, None)
    known = JudgingContext(
        judges, writer_samples=(), chunks={"c1": "Brass wears."}, base_answers=()
    )

    def of(engine: str) -> list[int]:
        asked = measurement._build_prompts(SPEC, SAMPLES, SAMPLES, known)
        scores_of = measurement._make_base_scorer(SPEC, known, kept, [], engine=engine)
        scores = scores_of(asked, PromptAnswers({}, {}))
        missing = scores.missing()
        for measure, answered in (
            ("support", asked.held_out),
            ("flags", asked.red_team),
            ("follows", asked.instructions),
        ):
            answers = dict.fromkeys(answered, "It wears.")
            scores.get_scores(measure, answers, lambda _places, texts: [0.0] * len(texts))
        return missing

    assert of("xllamacpp 1")
    assert of("xllamacpp 1") == []
    assert of("http://127.0.0.1:8000 0.12.0"), "another server's answers are others"
