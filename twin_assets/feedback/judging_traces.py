"""Choose the answers to judge, and compute their scores for the trace store.

Scope: the random sample, the passages of an answer, and the scores with their ids.
Out of scope: the judges (`twin_resources/quality/judges`) and sending (`langfuse/relay.py`).

The sample is random, so that judged traces represent all traces. A hash of the trace id is compared
with the share, regardless of the answer, so a second run draws the same traces. After a promotion,
the first 500 answers of the new version are all judged, because its first baselines are certified
on them (`statistics/detector.py`). They are counted over a version's lifetime. Answers are deleted
after 90 days. If only stored answers counted, later answers of an old version would eventually be
among its first 500.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import polars as pl

from twin_resources.observability.langfuse.outbox import QueuedScore
from twin_resources.quality.judges.judge import Judge, JudgedAnswer, digest, judge_id
from twin_resources.quality.ledger.interactions_frame import filter_reader_interactions

FIRST_BATCH = 500  # a version's first answers, all of which are judged
SAMPLE_SHARE = 0.1  # share of a version's answers after its first batch
_HASH_RANGE = 16**12


def score_name(judge: Judge) -> str:
    """Return `judge:<name>@<revision>`, the name of the score and of its stream."""
    return f"judge:{judge_id(judge)}"


def score_id(judge: Judge, trace_id: str) -> str:
    """Return `judge:<name>@<revision>:<trace>`, under which a second score replaces the first."""
    return f"{score_name(judge)}:{trace_id}"


def select_sample(
    interactions: pl.DataFrame,
    *,
    judged_ids: Collection[str],
    deleted_counts: Mapping[str, int] | None = None,
    share: float = SAMPLE_SHARE,
    first_batch: int = FIRST_BATCH,
) -> pl.DataFrame:
    """Select the answers to judge now.

    Args:
        interactions: rows of the asset `interactions`.
        judged_ids: ids of traces that already have their scores.
        deleted_counts: number of judged answers that have been deleted since, by version.
        share: share of the answers after a version's first batch.
        first_batch: number of first answers of each version that are all judged.

    Returns:
        Rows that have a question and an answer, oldest first. Degraded answers are left out because
        they come from a fallback, and batch answers because no reader asked
        (`filter_reader_interactions`).
    """
    answers = select_judgeable_answers(interactions)
    deleted_count = pl.col("version").replace_strict(
        deleted_counts or {}, default=0, return_dtype=pl.Int64
    )
    numbered_answers = answers.with_columns(
        (pl.int_range(pl.len()).over("version") + deleted_count).alias("_ordinal"),
        pl.col("trace_id")
        .map_elements(_compute_sample_position, return_dtype=pl.Float64)
        .alias("_sample_position"),
    )
    return numbered_answers.filter(
        ((pl.col("_ordinal") < first_batch) | (pl.col("_sample_position") < share))
        & ~pl.col("trace_id").is_in(list(judged_ids))
    ).drop("_ordinal", "_sample_position")


def judge_traces(
    rows: pl.DataFrame, judges: Sequence[Judge], *, passages: Mapping[str, str], now: datetime
) -> list[QueuedScore]:
    """Return one score per judge and answer.

    Args:
        rows: rows of `select_sample`.
        passages: texts by chunk id; a removed chunk is not shown to the judge.
        now: time of judging to record in the scores, timezone-aware.

    Raises:
        TwinError: a judge's model does not answer; no scores are returned then.
    """
    judged_answers = to_judged_answers(rows, passages)
    trace_rows = list(rows.select("trace_id", "author", "version", "simulated").iter_rows())
    scores: list[QueuedScore] = []
    for judge in judges:
        for value, (trace_id, author, version, simulated) in zip(
            judge.score_all(judged_answers), trace_rows, strict=True
        ):
            scores.append(
                QueuedScore(
                    id=score_id(judge, trace_id),
                    trace_id=trace_id,
                    name=score_name(judge),
                    value=round(value, 6),
                    metadata={
                        "twin.by": "judge",
                        "twin.author": author,
                        "twin.version": version,
                        "twin.at": now.isoformat(timespec="milliseconds"),
                    }
                    | ({"twin.simulated": "true"} if simulated else {}),
                )
            )
    return scores


def select_judgeable_answers(interactions: pl.DataFrame) -> pl.DataFrame:
    """Return the answers to readers that can be judged, oldest first.

    These have a question and an answer, and were not given by a fallback.
    """
    return (
        filter_reader_interactions(interactions)
        .filter((pl.col("question") != "") & (pl.col("answer") != "") & (pl.col("degraded") == ""))
        .sort("started_at", "trace_id")
    )


def to_judged_answers(rows: pl.DataFrame, passages: Mapping[str, str]) -> list[JudgedAnswer]:
    """Return the answers in the form that a judge reads, with the passages that still exist."""
    return [
        JudgedAnswer(question, answer, tuple(passages[key] for key in chunk_ids if key in passages))
        for question, answer, chunk_ids in rows.select(
            "question", "answer", "chunk_ids"
        ).iter_rows()
    ]


def _compute_sample_position(trace_id: str) -> float:
    return int(digest("judge", trace_id), 16) / _HASH_RANGE
