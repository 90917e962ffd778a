"""Test the hash of an evaluation's inputs and the keys of the base's scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl

from tests.unit.evaluation.served.test_base_scores import EmptyTables
from twin_assets.evaluation import measurement
from twin_assets.evaluation.evaluation_spec import EvaluatedModel, EvaluationSpec, JudgingContext
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.sequential_plan import EVERY_CLAIM, request_base_scores
from twin_assets.evaluation.served.served_judges import Judges
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render

MESSAGES = [
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
        "messages": [MESSAGES] * 4,
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
    max_questions=30,
)


def test_another_judge_changes_the_inputs_hash() -> None:
    other_judge = replace(SPEC, nli_model="an-entailment-model")

    inputs_hash = SPEC.inputs_hash("i", "gate-1")
    assert inputs_hash == replace(SPEC).inputs_hash("i", "gate-1")
    changed_hashes = [
        SPEC.inputs_hash("", "gate-1"),
        SPEC.inputs_hash("i", "gate-2"),
        other_judge.inputs_hash("i", "gate-1"),
    ]
    assert len({inputs_hash, *changed_hashes}) == 4


def test_each_doubling_of_the_authors_changes_the_inputs_hash() -> None:
    def hash_with_others(count: int) -> str:
        return replace(SPEC, other_author_count=count).inputs_hash("i", "gate-1")

    assert hash_with_others(0) != hash_with_others(1)
    assert hash_with_others(1) == hash_with_others(2) != hash_with_others(3)


def test_scores_of_the_base_belong_to_one_server() -> None:
    cache = MeasurementCache(EmptyTables(), "ada")  # pyright: ignore[reportArgumentType]
    judges = Judges(None, None, None)
    judging_context = JudgingContext(
        judges, writer_samples=(), chunk_texts={"c1": "Brass wears."}, base_answers=()
    )

    def find_missing(engine: str) -> list[int]:
        context = measurement.prepare_context(SPEC, judging_context, SAMPLES, cache, engine=engine)
        request_base_scores(context, EVERY_CLAIM)
        prompts, scores = context.prompts, context.scores
        missing = scores.find_missing()
        for measure, positions in (
            ("flags", prompts.red_team),
            ("follows", prompts.instructions),
        ):
            answers = dict.fromkeys(positions, "It wears.")
            scores.get_or_compute(measure, answers, lambda _positions, texts: [0.0] * len(texts))
        return missing

    assert find_missing("xllamacpp 1")
    assert find_missing("xllamacpp 1") == []
    assert find_missing("http://127.0.0.1:8000 0.12.0"), "another server reuses the scores"
