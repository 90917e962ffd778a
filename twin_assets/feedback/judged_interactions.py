"""Define the asset `judged_interactions`: judges' scores for a random sample of answers.

Scope: the asset and its metadata. Out of scope: the sample and the scores (`judging_traces.py`),
the judges, and sending (the outbox's relay).

Scores are queued on disk under ids made of judge, revision and trace, so judging a trace again
replaces its scores. The table records the judges of each judged trace. Certifying the judges takes
25 CPU seconds and 60 answers of the base model. Certification therefore waits until there is a
stable version and a new trace in the sample. Only then does a judge with a new revision start, and
it scores the earlier answers again.
"""

from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

import dagster as dg
import polars as pl

from twin_assets.evaluation.judging import author_panel
from twin_assets.evaluation.judging.judge_material import read_chunk_texts
from twin_assets.feedback import judging_traces
from twin_assets.table_assets import report_materialization, report_unchanged, table_asset
from twin_resources.access.spending_limits import OverLimitError
from twin_resources.authors import Author, read_author
from twin_resources.dagster_resources import EmbedderResource
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.observability.langfuse.annotation import fill_annotation_queue
from twin_resources.observability.langfuse.client import LangfuseClient, TraceStoreError
from twin_resources.observability.langfuse.outbox import Outbox, outbox_path
from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.ledger.interactions_frame import interaction_columns
from twin_resources.quality.ledger.known_stores import traces_of_earlier_stores
from twin_resources.registry.moves import ModelVersion
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import SyncResult, Tables

TABLE = "judged_interactions"
COLUMNS = {"trace_id": pl.String(), "version": pl.String(), "judges": pl.String()}


class JudgingConfig(dg.Config):
    """Selection of the answers: the first `first_batch` of each version, then a random `share`.

    Attributes:
        most: maximum number of answers judged in one materialization.
        margin: ε of the certificates; None for `Settings.margin`, as in `shadow_pairs`.
    """

    share: float = judging_traces.SAMPLE_SHARE
    first_batch: int = judging_traces.FIRST_BATCH
    most: int = 500
    margin: float | None = None


@table_asset(group_name="feedback", deps=["interactions", "instruction_dataset"], pool="training")
def judged_interactions(
    context: dg.AssetExecutionContext,
    config: JudgingConfig,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
    registry: dg.ResourceParam[Registry],
    model_server: dg.ResourceParam[ModelServers],
    embedder: EmbedderResource,
) -> dg.MaterializeResult:
    """Scores from all certified judges, written to the trace store through the outbox."""
    author = read_author(settings, context.partition_key)
    ledger_tables.open_tables(registry.state)
    with registry.state.read_transaction() as connection:
        foreign_ids = traces_of_earlier_stores(connection, author.slug)
    sample = _Sample.for_author(tables, author.slug, config, foreign_ids)
    if reason := _find_reason_not_to_judge(sample, registry.stable_version(author.slug)):
        return _unchanged_result(tables, author, reason)
    try:
        panel = author_panel.assemble_author_panel(
            author,
            settings,
            tables=tables,
            state=registry.state,
            servers=model_server,
            embedder=embedder.embedder(),
            log=context.log.info,
            margin=settings.margin if config.margin is None else config.margin,
        )
        judges = [member.judge for member in panel.members if member.is_certified]
        score_names = [judging_traces.score_name(judge) for judge in judges]
        passages = read_chunk_texts(tables, author.slug)
        rows = sample.select_unjudged(score_names).head(config.most)
        scores = judging_traces.judge_traces(rows, judges, passages=passages, now=datetime.now(UTC))
    except OverLimitError as error:
        return _unchanged_result(
            tables, author, author_panel.build_waiting_message(settings, error)
        )
    with closing(Outbox(outbox_path(settings))) as outbox:
        outbox.put_scores(scores, automatic=True)
    sync_result = _record_judges(tables, author.slug, sample.judged_rows, rows, score_names)
    counts = {"judged_now": rows.height, "scores_queued": len(scores), "judges": score_names}
    if settings.has_real_langfuse:
        counts["annotation_queue"] = _fill_annotation_queue(settings, author, sample)
    return report_materialization(sync_result, {**counts, **author_panel.panel_metadata(panel)})


@dataclass(frozen=True)
class _Sample:
    """All answers to readers, the records of those already judged, and the sampling settings.

    Attributes:
        foreign_ids: the answers that only an earlier trace store has; they are not judged.
    """

    interactions: pl.DataFrame
    judged_rows: pl.DataFrame
    config: JudgingConfig
    foreign_ids: Collection[str]

    @classmethod
    def for_author(
        cls, tables: Tables, author: str, config: JudgingConfig, foreign_ids: Collection[str]
    ) -> Self:
        """Read an author's sample; it is empty until `collect_feedback` has run for the first time.

        The schedule of `judge_answers` may start before that.
        """
        schemas = {"interactions": interaction_columns(), TABLE: COLUMNS}
        interactions, judged_rows = (
            tables.read(name, author)
            if tables.exists(name, author)
            else pl.DataFrame(schema=schema)
            for name, schema in schemas.items()
        )
        return cls(interactions, judged_rows, config, foreign_ids)

    def select_unjudged(self, judges: Sequence[str] | None = None) -> pl.DataFrame:
        """Return the sampled answers that these judges have not judged; None means any judges."""
        judged_rows = self.judged_rows
        if judges is not None:
            judged_rows = judged_rows.filter(pl.col("judges") == ",".join(judges))
        deleted_rows = self.judged_rows.join(self.interactions, on="trace_id", how="anti")
        sample = judging_traces.select_sample(
            self.interactions,
            judged_ids=judged_rows["trace_id"].to_list(),
            deleted_counts=dict(deleted_rows.group_by("version").len().iter_rows()),
            share=self.config.share,
            first_batch=self.config.first_batch,
        )
        # A score of an answer that this trace store never saw would hang in the air there.
        return sample.filter(~pl.col("trace_id").is_in(list(self.foreign_ids)))


def _fill_annotation_queue(settings: Settings, author: Author, sample: _Sample) -> str:
    """Offer the week's least certain answers to annotators; return what came of it."""
    now = datetime.now(UTC)
    week = sample.interactions.filter(
        pl.col("started_at") >= now - timedelta(days=7),
        pl.col("judged").is_not_null(),
        pl.col("votes") == 0,
        ~pl.col("trace_id").is_in(list(sample.foreign_ids)),
    )
    values = dict(week.select("trace_id", "judged").iter_rows())
    try:
        with LangfuseClient.from_settings(settings) as client:
            count = fill_annotation_queue(client, author.slug, author.scores, values, now=now)
    except TraceStoreError as error:  # the answers are judged; the queue is filled next time
        return f"not filled: {error.found}"
    return f"{count} answers added"


def _find_reason_not_to_judge(sample: _Sample, stable: ModelVersion | None) -> str:
    if stable is None:
        return "no stable version whose answers could be judged"
    return "no new answer in the sample" if sample.select_unjudged().is_empty() else ""


def _unchanged_result(tables: Tables, author: Author, reason: str) -> dg.MaterializeResult:
    return report_unchanged(
        tables, TABLE, author.slug, reason=reason, judged_now=0, scores_queued=0
    )


def _record_judges(
    tables: Tables,
    author: str,
    judged_rows: pl.DataFrame,
    rows: pl.DataFrame,
    judges: Sequence[str],
) -> SyncResult:
    """Record these judges for the traces in `rows`, and keep the records of other traces."""
    new_rows = rows.select("trace_id", "version").with_columns(
        pl.lit(",".join(judges)).alias("judges")
    )
    return tables.sync(
        pl.concat(
            [judged_rows.join(new_rows, on="trace_id", how="anti").select(list(COLUMNS)), new_rows]
        ),
        TABLE,
        author=author,
        key="trace_id",
        function=lambda frame: frame,
        version="1",
        schema=COLUMNS,
        row_key="trace_id",
    )
