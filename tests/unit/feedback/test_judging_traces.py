"""Test which answers are judged and the ids of their scores."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from twin_assets.feedback.judging_traces import judge_traces, score_id, select_sample
from twin_resources.quality.judges.judge import JudgedAnswer

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class LengthJudge:
    """A judge that scores the length of an answer and records what it judged."""

    name, revision, claim = "length", "1", "general"

    def __init__(self) -> None:
        self.judged_answers: list[JudgedAnswer] = []

    def score_all(self, answers: Sequence[JudgedAnswer]) -> list[float]:
        self.judged_answers += answers
        return [min(1.0, len(answer.answer) / 10) for answer in answers]


def make_answers(count: int, **changes: object) -> pl.DataFrame:
    rows = [
        {
            "trace_id": f"t{n:04}",
            "author": "ada",
            "started_at": NOON + timedelta(minutes=n),
            "version": f"v{n % 2 + 1}",
            "route": "stable",
            "question": "Why?",
            "answer": "Because",
            "chunk_ids": ["c1", "gone"],
            "degraded": "",
            "simulated": False,
            "batch": False,
        }
        | changes
        for n in range(count)
    ]
    return pl.DataFrame(rows)


def test_the_first_answers_of_each_version_are_all_judged() -> None:
    sample = select_sample(make_answers(100), judged_ids=(), share=0.0, first_batch=3)

    assert sample["trace_id"].to_list() == [f"t{n:04}" for n in range(6)]


@pytest.mark.long
def test_answers_of_an_old_version_are_judged_on_their_day() -> None:
    """For 200 days, 40 answers a day are judged daily and kept for 90 days."""
    per_day, kept_days = 40, 90
    all_answers = make_answers(200 * per_day, version="v1").with_columns(
        started_at=pl.lit(NOON) + pl.duration(days=pl.int_range(pl.len()) // per_day)
    )
    judged_ids: list[str] = []
    ages_days: list[int] = []
    for day in range(200):
        newest = NOON + timedelta(days=day)
        remaining = all_answers.filter(
            pl.col("started_at").is_between(newest - timedelta(days=kept_days), newest)
        )
        removed_count = len(set(judged_ids) - set(remaining["trace_id"]))
        sample = select_sample(
            remaining,
            judged_ids=judged_ids,
            deleted_counts={"v1": removed_count},
            share=0.1,
            first_batch=500,
        )
        judged_ids += sample["trace_id"].to_list()
        ages_days += [(newest - started_at).days for started_at in sample["started_at"]]
    assert max(ages_days) == 0
    assert 500 + 0.08 * 7_500 < len(judged_ids) < 500 + 0.12 * 7_500


def test_later_answers_are_sampled_by_their_id() -> None:
    sample = select_sample(make_answers(2000), judged_ids=(), share=0.1, first_batch=0)
    half = select_sample(make_answers(1000), judged_ids=(), share=0.1, first_batch=0)

    assert 150 < sample.height < 250
    assert set(half["trace_id"]) == set(sample["trace_id"]) & set(make_answers(1000)["trace_id"])


def test_judged_degraded_empty_and_batch_answers_are_not_sampled() -> None:
    rows = pl.concat(
        [
            make_answers(4),
            make_answers(1, trace_id="down", degraded="retrieval: away"),
            make_answers(1, trace_id="mute", answer=""),
            make_answers(1, trace_id="file", batch=True),
        ]
    )

    sample = select_sample(rows, judged_ids=["t0001"], first_batch=100)

    assert sorted(sample["trace_id"]) == ["t0000", "t0002", "t0003"]


def test_scores_record_judge_revision_trace_and_simulation() -> None:
    judge = LengthJudge()
    rows = pl.concat([make_answers(1), make_answers(1, trace_id="sim", simulated=True)])

    real, simulated = judge_traces(rows, [judge], passages={"c1": "A passage."}, now=NOON)

    assert real.id == score_id(judge, "t0000") == "judge:length@1:t0000"
    assert (real.name, real.value, real.trace_id) == ("judge:length@1", 0.7, "t0000")
    assert "twin.simulated" not in real.metadata
    assert simulated.metadata["twin.simulated"] == "true"
    assert judge.judged_answers[0] == JudgedAnswer("Why?", "Because", ("A passage.",))
    assert "v1" not in repr(judge.judged_answers), "the judge must not see the version"
