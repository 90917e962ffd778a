"""Define the asset `judged_interactions`: judges' scores for a random sample of answers.

Scope: the asset, its metadata. Out of scope: the sample and the scores
(`judging_traces.py`), the judges, sending (the outbox's relay).

Scores are queued on disk under ids made of judge, revision and trace, so a repetition replaces
them; the table records the judges of each judged trace. Certifying the judges takes
25 CPU seconds and 60 answers of the base model, so it waits until there is an answer to judge: a
stable version and a new trace in the sample. A judge of a new revision therefore begins with the
next answer, and then scores the earlier ones again.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import dagster as dg
import polars as pl

from twin_assets.evaluation.judged import author_panel
from twin_assets.feedback import judging_traces
from twin_assets.table_assets import left_as_it_was, materialized, table_asset
from twin_resources.access.spending_limits import OverLimit
from twin_resources.authors import Author, read_author
from twin_resources.dagster_resources import (
    EmbedderResource,
)
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.observability.langfuse.outbox import Outbox, outbox_path
from twin_resources.registry.moves import ModelVersion
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import SyncResult, Tables

TABLE = "judged_interactions"
COLUMNS = {"trace_id": pl.String(), "version": pl.String(), "judges": pl.String()}


class JudgedConfig(dg.Config):
    """Selection of answers: `share` of all, after each version's first `first_batch`.

    Attributes:
        most: largest number in one materialization.
        margin: ε of the certificates; None for `Settings.margin`, as in `shadow_pairs`.
    """

    share: float = judging_traces.SHARE
    first_batch: int = judging_traces.FIRST_BATCH
    most: int = 500
    margin: float | None = None


@table_asset(group_name="feedback", deps=["interactions", "instruction_dataset"], pool="training")
def judged_interactions(
    context: dg.AssetExecutionContext,
    config: JudgedConfig,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
    registry: dg.ResourceParam[Registry],
    model_server: dg.ResourceParam[ModelServers],
    embedder: EmbedderResource,
) -> dg.MaterializeResult:
    """Scores by every certified judge, written to the trace store through the outbox."""
    author = read_author(settings, context.partition_key)
    sample = _Sample.of(tables, author.slug, config)
    if nothing := _nothing_to_judge(sample, registry.stable(author.slug)):
        return _left_as_it_was(tables, author, nothing)
    try:
        panel = author_panel.panel_of(
            author,
            settings,
            tables=tables,
            state=registry.state,
            servers=model_server,
            embedder=embedder.embedder(),
            log=context.log.info,
            margin=settings.margin if config.margin is None else config.margin,
        )
        judges = [member.judge for member in panel.members if member.certified]
        names = [judging_traces.score_name(judge) for judge in judges]
        passages = _passages(tables, author.slug)
        rows = sample.without(names).head(config.most)
        scores = judging_traces.judge_traces(rows, judges, passages=passages, now=datetime.now(UTC))
    except OverLimit as error:
        return _left_as_it_was(tables, author, author_panel.waits(settings, error))
    with closing(Outbox(outbox_path(settings))) as outbox:
        outbox.put_scores(scores, automatic=True)
    done = _note(tables, author.slug, sample.known, rows, names)
    counts = {"judged_now": rows.height, "scores_queued": len(scores), "judges": names}
    return materialized(done, {**counts, **author_panel.told(panel)})


@dataclass(frozen=True)
class _Sample:
    """Drawn answers, and the judges of each judged one (`known`)."""

    interactions: pl.DataFrame
    known: pl.DataFrame
    config: JudgedConfig

    @classmethod
    def of(cls, tables: Tables, author: str, config: JudgedConfig) -> Self:
        known = (
            tables.read(TABLE, author)
            if tables.exists(TABLE, author)
            else pl.DataFrame(schema=COLUMNS)
        )
        return cls(tables.read("interactions", author), known, config)

    def without(self, judges: Sequence[str] | None = None) -> pl.DataFrame:
        """Return answers that these judges have not judged; with None, those that nobody has."""
        judged = self.known
        if judges is not None:
            judged = judged.filter(pl.col("judges") == ",".join(judges))
        gone = self.known.join(self.interactions, on="trace_id", how="anti")
        return judging_traces.sampled(
            self.interactions,
            judged=judged["trace_id"].to_list(),
            gone=dict(gone.group_by("version").len().iter_rows()),
            share=self.config.share,
            first_batch=self.config.first_batch,
        )


def _nothing_to_judge(sample: _Sample, stable: ModelVersion | None) -> str:
    if stable is None:
        return "no stable version: there is no twin whose answers could be judged"
    return "no new answer in the sample" if sample.without().is_empty() else ""


def _left_as_it_was(tables: Tables, author: Author, because: str) -> dg.MaterializeResult:
    return left_as_it_was(
        tables, TABLE, author.slug, because=because, judged_now=0, scores_queued=0
    )


def _passages(tables: Tables, author: str) -> Mapping[str, str]:
    columns = ["chunk_id", "text"]
    return dict(tables.read("document_chunks", author, columns=columns).iter_rows())


def _note(
    tables: Tables, author: str, known: pl.DataFrame, rows: pl.DataFrame, judges: Sequence[str]
) -> SyncResult:
    """Record the judges of these traces."""
    judged = rows.select("trace_id", "version").with_columns(
        pl.lit(",".join(judges)).alias("judges")
    )
    return tables.sync(
        pl.concat([known.join(judged, on="trace_id", how="anti").select(list(COLUMNS)), judged]),
        TABLE,
        author=author,
        key="trace_id",
        function=lambda frame: frame,
        version="1",
        schema=COLUMNS,
        row_key="trace_id",
    )
