"""Build a data frame from the ledger, with one row per answer and its scores.

Scope: the query, the columns and their meaning.
Out of scope: pairs and samples built from the rows (`preference_dataset`, `shadow_pairs`).
The ledger's texts contain no personal data, because reading redacts them (`privacy`).
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
AUTHOR = "author"  # role of the API key that belongs to the twin's author
REJECTION_THRESHOLD = 0.5  # a comparison is 0 or 1
_COUNTED_STATUSES = ("open", "settled", "beside", "late")


def interaction_columns() -> Mapping[str, Any]:
    """Return name → Polars type.

    `trace_id` is the key. `vote` is the mean of the readers' votes in [0, 1], or null if there are
    none. It includes other names that the author's file maps to the stream `thumbs`. `votes` is
    the number of votes. `judged` is the mean of the judges' scores, and `judgements` their number.
    `edit` is the author's newest edit, or the newest edit by any reader if the author made none.
    `edit_role` is the role of the editor's key. Only an edit by an `author` may become a chosen
    answer. `rejections` is the number of times that `rejection_voters` preferred another answer.
    `propensity` is null if the trace does not contain it; estimates weighted by propensity omit
    the row. `batch` is true if the question came from a batch instead of a reader
    (see `filter_reader_interactions`). `chunk_ids` are the prompt's passages, best first. Votes
    with the status `late` or `beside` are included; limited, invalid and deleted votes are not.
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


def filter_reader_interactions(interactions: Rows) -> Rows:
    """Remove batch and front-desk answers, which are neither judged nor replayed.

    Batch questions are chosen by the writer of the batch file. The front desk's answers are written
    by the program, and a message about danger must not be shown to other readers.

    Args:
        interactions: the asset's rows, as a data frame or a lazy frame.
    """
    import polars as pl

    return interactions.filter(
        pl.col("route").ne_missing(FRONT_DESK), ~pl.col("batch").fill_null(False)
    )


def authors_with_answers(connection: sa.Connection, *, since: datetime) -> list[str]:
    """Return the slugs, in order, of the authors with an answer at `since` or later."""
    table = ledger_tables.traces
    authors = connection.execute(
        sa.select(table.c.author)
        .where(table.c.started_ms >= int(since.timestamp() * 1000))
        .distinct()
        .order_by(table.c.author)
    )
    return [str(author) for author in authors.scalars()]


def build_interactions_frame(connection: sa.Connection, author: str) -> pl.DataFrame:
    """Return all answers of an author, oldest first; see `interaction_columns`."""
    import polars as pl

    table, types = ledger_tables.traces, interaction_columns()
    stored_types = {"started_ms": pl.Int64, "chunks": pl.String, **types}
    columns = [column for column in table.c if column.name in stored_types]
    query = sa.select(*columns).where(table.c.author == author)
    rows = connection.execute(query.order_by(table.c.started_ms, table.c.trace_id))
    return (
        pl.DataFrame(
            rows.all(), {column.name: stored_types[column.name] for column in columns}, orient="row"
        )
        .join(
            _scores_by_trace(connection, author), on="trace_id", how="left", maintain_order="left"
        )
        .with_columns(
            pl.col("propensity").replace(UNKNOWN_PROPENSITY, None),
            pl.col("votes", "judgements", "rejections").fill_null(0),
            pl.col("voters", "rejection_voters").fill_null([]),
            started_at=pl.from_epoch("started_ms", "ms").dt.replace_time_zone("UTC"),
            chunk_ids=pl.col("chunks").str.extract_all("[^,]+"),
        )
        .select(pl.col(name).cast(type_) for name, type_ in types.items())
    )


def _scores_by_trace(connection: sa.Connection, author: str) -> pl.DataFrame:
    """Return the columns computed from readers' and judges' scores, one row per scored answer."""
    import polars as pl

    table = ledger_tables.scores
    text_columns = ("trace_id", "kind", "stream", "role", "reader", "text")
    rows = connection.execute(
        sa.select(*(table.c[name] for name in text_columns), table.c.value)
        .where(table.c.author == author, table.c.status.in_((*_COUNTED_STATUSES, "kept")))
        .order_by(table.c.given_ms, table.c.id)
    )
    schema = {**dict.fromkeys(text_columns, pl.String), "value": pl.Float64}
    scores = pl.DataFrame(rows.all(), schema, orient="row")
    value, reader = pl.col("value"), pl.col("reader")
    # Other streams do not measure whether an answer is good. An edit has no stream.
    is_vote, is_judged = pl.col("stream") == VOTE, pl.col("stream").str.starts_with(JUDGE)
    is_rejection = (pl.col("kind") == "compare") & (value < REJECTION_THRESHOLD)
    edits = scores.filter(kind="edit").sort(pl.col("role") == AUTHOR, maintain_order=True)
    newest_edits = edits.unique("trace_id", keep="last").select(
        "trace_id", edit="text", edit_role="role", edit_reader="reader"
    )
    by_trace = scores.group_by("trace_id").agg(
        vote=value.filter(is_vote).mean(),
        votes=is_vote.sum(),
        voters=reader.filter(is_vote),
        judged=value.filter(is_judged).mean(),
        judgements=is_judged.sum(),
        rejections=is_rejection.sum(),
        rejection_voters=reader.filter(is_rejection),
    )
    return by_trace.join(newest_edits, on="trace_id", how="left")
