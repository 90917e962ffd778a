"""What an evaluation rests on, and what the base's kept scores are known by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl

from tests.unit.evaluation.served.test_base_scores import NoTables
from tests.unit.judges.word_vectors import embed
from twin_assets.evaluation import measurement
from twin_assets.evaluation.evaluation_spec import EvaluatedModel, EvaluationSpec, JudgingContext
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.served.answer_measures import Judges
from twin_assets.evaluation.served.served_answers import PromptAnswers
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
QUESTION = EvaluationSpec(
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


def test_another_judge_asks_for_another_evaluation() -> None:
    judged = replace(QUESTION, nli_model="an-entailment-model")

    same = QUESTION.inputs_hash("i", "gate-1")
    assert same == replace(QUESTION).inputs_hash("i", "gate-1")
    others = [
        QUESTION.inputs_hash("", "gate-1"),
        QUESTION.inputs_hash("i", "gate-2"),
        judged.inputs_hash("i", "gate-1"),
    ]
    assert len({same, *others}) == 4


def test_an_author_who_joins_asks_for_another_evaluation_and_not_each_that_does() -> None:
    def with_others(count: int) -> str:
        return replace(QUESTION, other_author_count=count).inputs_hash("i", "gate-1")

    assert with_others(0) != with_others(1)
    assert with_others(1) == with_others(2) != with_others(3)


def test_scores_of_the_base_are_those_of_the_server_that_answered() -> None:
    kept = MeasurementCache(NoTables(), "ada")  # pyright: ignore[reportArgumentType]
    judges = Judges(SupportJudge(embed, embedder="words"), None, None, None)
    known = JudgingContext(
        judges, writer_samples=(), chunks={"c1": "Brass wears."}, base_answers=()
    )

    def of(engine: str) -> list[int]:
        asked = measurement._build_prompts(QUESTION, SAMPLES, SAMPLES, known)
        scores_of = measurement._make_base_scorer(QUESTION, known, kept, [], engine=engine)
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
