"""Builds a frame from the ledger: one row per answer, with its scores.

Scope: the query, the columns and their meaning.
Out of scope: pairs and samples built from the rows (`preference_dataset`, `shadow_pairs`).
Personal data in questions, answers and edits was replaced when they were read (`privacy`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from twin_resources.observability.langfuse.score_names import VOTE
from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.ledger.scores import JUDGE
from twin_resources.quality.ledger.traces import UNKNOWN_PROPENSITY
from twin_resources.registry.route_names import FRONT_DESK

if TYPE_CHECKING:
    import polars as pl

Rows = TypeVar("Rows", "pl.DataFrame", "pl.LazyFrame")
AUTHOR = "author"  # role of the key that belongs to the twin's author
REJECTION_THRESHOLD = 0.5  # a comparison is 0 or 1
_COUNTED_STATUSES = ("open", "settled", "beside", "late")


def columns() -> Mapping[str, Any]:
    """Return name → Polars type.

    `trace_id` is the key. `vote` is the mean of the readers' votes in [0, 1], or null if there are
    none; it includes other names that the author's file maps to the stream `thumbs`. `votes` is
    their number. `judged` is the mean of the judges' scores and `judgements` their number. `edit`
    is the author's newest edit or, without one, the newest of any reader. `edit_role` is the role
    of its key: only an edit by an `author` may become a chosen answer.
    `rejections` is how often `rejection_voters` preferred another answer to this one.
    `propensity` is null if the trace does not contain it; estimates weighted by propensity leave
    out such a row.
    `batch` is true if a batch asked the question instead of a reader, see `of_readers`.
    `chunk_ids` are the passages of the prompt, best first. Votes with the status `late` or `beside`
    are included; held, bad and deleted votes are not.
    """
    import polars as pl

    return {
        "trace_id": pl.String,
        "author": pl.String,
        "started_at": pl.Datetime("ms", "UTC"),
        "version": pl.String,
        "checkpoint": pl.String,
        "route": pl.String,
        "propensity": pl.Float64,
        "prompt_class": pl.String,
        "template": pl.String,
        "reader": pl.String,
        "question": pl.String,
        "answer": pl.String,
        "chunk_ids": pl.List(pl.String),
        "latency_s": pl.Float64,
        "cost_usd": pl.Float64,
        "degraded": pl.String,
        "simulated": pl.Boolean,
        "batch": pl.Boolean,
        "vote": pl.Float64,
        "votes": pl.Int64,
        "voters": pl.List(pl.String),
        "judged": pl.Float64,
        "judgements": pl.Int64,
        "edit": pl.String,
        "edit_role": pl.String,
        "edit_reader": pl.String,
        "rejections": pl.Int64,
        "rejection_voters": pl.List(pl.String),
    }


def reader_interactions(interactions: Rows) -> Rows:
    """Remove answers to batches and of the front desk, which are neither judged nor replayed.

    The writer of a batch file chooses its questions; older tables have no `batch` column. The
    program writes the front desk's answers, and a message about danger is shown to nobody else.

    Args:
        interactions: the asset's rows, as a data frame or a lazy frame.
    """
    import polars as pl

    interactions = interactions.filter(pl.col("route").ne_missing(FRONT_DESK))
    if "batch" not in interactions.collect_schema().names():
        return interactions
    return interactions.filter(~pl.col("batch").fill_null(False))


def authors_with_answers(connection: sa.Connection, *, since: datetime) -> list[str]:
    """Return the sorted slugs of authors with an answer that began at `since` or later."""
    table = ledger_tables.traces
    authors = connection.execute(
        sa.select(table.c.author)
        .where(table.c.started_ms >= int(since.timestamp() * 1000))
        .distinct()
        .order_by(table.c.author)
    )
    return [str(author) for author in authors.scalars()]


def build_interactions_frame(
    connection: sa.Connection, author: str, *, since: datetime | None = None
) -> pl.DataFrame:
    """Return an author's answers since `since`, or all if None, oldest first; see `columns`."""
    import polars as pl

    since_ms = int(since.timestamp() * 1000) if since else 0
    by_trace = _scores_by_trace(connection, author)
    table = ledger_tables.traces
    rows: list[dict[str, Any]] = []
    trace_rows = connection.execute(
        sa.select(table)
        .where(table.c.author == author, table.c.started_ms >= since_ms)
        .order_by(table.c.started_ms, table.c.trace_id)
    ).mappings()
    empty_scores = _empty_scores()
    for trace in trace_rows:
        row = {name: trace[name] for name in columns() if name in trace}
        row["started_at"] = trace["started_ms"]
        if trace["propensity"] == UNKNOWN_PROPENSITY:
            row["propensity"] = None
        row["chunk_ids"] = trace["chunks"].split(",") if trace["chunks"] else []
        rows.append(row | by_trace.get(trace["trace_id"], empty_scores))
    schema_with_time = dict(columns()) | {"started_at": pl.Int64}
    interactions = pl.DataFrame(rows, schema=schema_with_time)
    return interactions.with_columns(
        pl.from_epoch("started_at", "ms").dt.replace_time_zone("UTC")
    ).cast({"started_at": pl.Datetime("ms", "UTC")})


def _empty_scores() -> dict[str, Any]:
    lists: dict[str, Any] = {"voters": [], "rejection_voters": []}
    counts = dict.fromkeys(("votes", "judgements", "rejections"), 0)
    missing_values = dict.fromkeys(("vote", "judged", "edit", "edit_role", "edit_reader"))
    return lists | counts | missing_values


def _scores_by_trace(connection: sa.Connection, author: str) -> dict[str, dict[str, Any]]:
    """Return trace id → the columns that hold scores of readers and judges."""
    table = ledger_tables.scores
    rows = connection.execute(
        sa.select(table)
        .where(table.c.author == author, table.c.status.in_((*_COUNTED_STATUSES, "kept")))
        .order_by(table.c.given_ms, table.c.id)
    ).mappings()
    by_trace: dict[str, dict[str, Any]] = {}
    for score in rows:
        row = by_trace.setdefault(score["trace_id"], _empty_scores())
        if score["kind"] == "edit":
            if score["role"] == AUTHOR or row["edit_role"] != AUTHOR:
                row["edit"], row["edit_role"] = score["text"], score["role"]
                row["edit_reader"] = score["reader"]
            continue
        if score["kind"] == "compare":
            if score["value"] < REJECTION_THRESHOLD:
                row["rejections"] += 1
                row["rejection_voters"] = [*row["rejection_voters"], score["reader"]]
            continue
        is_judgement = score["stream"].startswith(JUDGE)
        if not is_judgement and score["stream"] != VOTE:
            continue  # another stream does not measure whether an answer is good
        mean, count = ("judged", "judgements") if is_judgement else ("vote", "votes")
        row[mean] = ((row[mean] or 0.0) * row[count] + score["value"]) / (row[count] + 1)
        row[count] += 1
        if count == "votes":
            row["voters"] = [*row["voters"], score["reader"]]
    return by_trace
