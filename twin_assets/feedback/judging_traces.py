"""Which answers are judged, and their scores on the way to the trace store.

Scope: the random sample, the passages that an answer was given,
the scores with their ids.
Out of scope: the judges (`twin_resources/quality/judges`), sending (`langfuse/relay.py`).

The sample is random so that judged traces stand for all: a hash of the trace id is drawn against
the rate, whatever the answer, so that a second run draws the same ones. Right after a promotion the
first 500 answers of the new version are all judged, because its first baselines are certified on
them (`statistics/detector.py`). They are counted over a version's life. Answers are kept for 90
days; counted among those, every answer of an old version would sooner or later be among its first
500, two months after it was given.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import polars as pl

from twin_resources.observability.langfuse.outbox import QueuedScore
from twin_resources.quality.judges.judge import Judge, JudgedAnswer, digest, identity
from twin_resources.quality.ledger.interactions_frame import of_readers

FIRST_BATCH = 500  # answers of a version that are all judged
SHARE = 0.1  # of a version's answers once its first batch is complete
_LOTS = 16**12


def score_name(judge: Judge) -> str:
    """`judge:<name>@<revision>`: name of the score, and of the stream that it settles in."""
    return f"judge:{identity(judge)}"


def score_id(judge: Judge, trace_id: str) -> str:
    """`judge:<name>@<revision>:<trace>`: judged again it replaces itself."""
    return f"{score_name(judge)}:{trace_id}"


def sampled(
    interactions: pl.DataFrame,
    *,
    judged: Collection[str],
    gone: Mapping[str, int] | None = None,
    share: float = SHARE,
    first_batch: int = FIRST_BATCH,
) -> pl.DataFrame:
    """The answers that are to be judged now.

    Args:
        interactions: rows of the asset `interactions`.
        judged: trace ids that already have their scores.
        gone: version → answers that were judged and are kept no longer; none where it is left out.
        share: of the answers after a version's first batch.
        first_batch: so many answers of each version are judged, its first.

    Returns:
        Rows, oldest first; those without question or answer, and degraded ones, are left out: a
        fallback's answer says nothing of the version; so are a batch's (`of_readers`).
    """
    answers = usable(interactions)
    before = pl.col("version").replace_strict(gone or {}, default=0, return_dtype=pl.Int64)
    numbered = answers.with_columns(
        (pl.int_range(pl.len()).over("version") + before).alias("_number"),
        pl.col("trace_id").map_elements(_lot, return_dtype=pl.Float64).alias("_lot"),
    )
    return numbered.filter(
        ((pl.col("_number") < first_batch) | (pl.col("_lot") < share))
        & ~pl.col("trace_id").is_in(list(judged))
    ).drop("_number", "_lot")


def judge_traces(
    rows: pl.DataFrame, judges: Sequence[Judge], *, passages: Mapping[str, str], now: datetime
) -> list[QueuedScore]:
    """One score a judge and answer.

    Args:
        rows: of `sampled`.
        passages: chunk id → text; a chunk that is gone since is not shown to the judge.
        now: stamped on the scores as the time of judging, aware.

    Raises:
        TwinError: a judge's model does not answer; no score is returned then.
    """
    shown = answered(rows, passages)
    facts = list(rows.select("trace_id", "author", "version", "simulated").iter_rows())
    scores: list[QueuedScore] = []
    for judge in judges:
        for value, (trace_id, author, version, simulated) in zip(
            judge.score_all(shown), facts, strict=True
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


def usable(interactions: pl.DataFrame) -> pl.DataFrame:
    """Answers to readers that can be judged: with question and answer, none of a fallback; oldest
    first."""
    return (
        of_readers(interactions)
        .filter((pl.col("question") != "") & (pl.col("answer") != "") & (pl.col("degraded") == ""))
        .sort("started_at", "trace_id")
    )


def answered(rows: pl.DataFrame, passages: Mapping[str, str]) -> list[JudgedAnswer]:
    """Rows as a judge sees them, with the passages that are still there."""
    return [
        JudgedAnswer(question, answer, tuple(passages[name] for name in names if name in passages))
        for question, answer, names in rows.select("question", "answer", "chunk_ids").iter_rows()
    ]


def _lot(trace_id: str) -> float:
    return int(digest("judge", trace_id), 16) / _LOTS
