"""The asset `judged_interactions`: judges' scores for a random sample of answers.

Belongs here: the asset, its metadata. Does not belong here: the sample and the scores
(`judging_traces.py`), the judges, sending (the outbox's relay).

Scores are queued on disk under ids made of judge, revision and trace, so a repetition replaces
itself; the table notes which traces have been judged by which judge. Certifying the judges costs
25 CPU seconds and 60 answers of the base model, so it waits until there is an answer to judge: a
stable version and a new trace in the sample. A judge of a new revision thus begins with the next
answer, and then scores the earlier ones again.
"""

from datetime import UTC, datetime
from functools import partial

import dagster as dg
import polars as pl

from twin_assets.evaluation.judged import author_panel
from twin_assets.feedback import judging_traces
from twin_assets.partitions import authors
from twin_resources.access.spending_limits import OverLimit
from twin_resources.dagster_resources import (
    EmbedderResource,
    ModelServerResource,
    RegistryResource,
    SettingsResource,
    TablesResource,
)
from twin_resources.observability.langfuse.outbox import Outbox, outbox_path

COLUMNS = {"trace_id": pl.String(), "version": pl.String(), "judges": pl.String()}


class JudgedConfig(dg.Config):
    """Which answers are judged: `share` of all, after each version's first `first_batch`.

    Attributes:
        most: in one materialization.
        margin: ε of the certificates; None: `Settings.margin`, as in `shadow_pairs`.
    """

    share: float = judging_traces.SHARE
    first_batch: int = judging_traces.FIRST_BATCH
    most: int = 500
    margin: float | None = None


@dg.asset(
    deps=["interactions", "instruction_dataset"],
    partitions_def=authors,
    group_name="feedback",
    kinds={"lance"},
    pool="training",
)
def judged_interactions(
    context: dg.AssetExecutionContext,
    config: JudgedConfig,
    settings: SettingsResource,
    tables: TablesResource,
    registry: RegistryResource,
    model_server: ModelServerResource,
    embedder: EmbedderResource,
) -> dg.MaterializeResult:
    """Scores by every certified judge, written to the trace store through the outbox."""
    author, store, home = context.partition_key, tables.tables(), settings.settings()
    known = (
        store.read("judged_interactions", author)
        if store.exists("judged_interactions", author)
        else pl.DataFrame(schema=COLUMNS)
    )
    sampled = partial(
        judging_traces.sampled,
        store.read("interactions", author),
        share=config.share,
        first_batch=config.first_batch,
    )
    nothing, models = "", registry.registry()
    if models.stable(author) is None:
        nothing = "no stable version: there is no twin whose answers could be judged"
    elif sampled(judged=known["trace_id"].to_list()).is_empty():
        nothing = "no new answer in the sample"
    if nothing:
        version = store.data_version("judged_interactions", author)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(version or "none"),
            metadata={"nothing_to_do": nothing, "judged_now": 0, "scores_queued": 0},
        )
    try:
        panel = author_panel.panel_of(
            settings.author(author),
            home,
            tables=store,
            state=models.state,
            servers=model_server.servers(),
            embedder=embedder.embedder(),
            say=context.log.info,
            margin=home.margin if config.margin is None else config.margin,
        )
        judges = [member.judge for member in panel.members if member.certified]
        names = ",".join(judging_traces.score_name(judge) for judge in judges)
        judged_by_them = known.filter(pl.col("judges") == names)["trace_id"].to_list()
        rows = sampled(judged=judged_by_them).head(config.most)
        scores = judging_traces.judge_traces(
            rows,
            judges,
            passages=dict(
                store.read("document_chunks", author, columns=["chunk_id", "text"]).iter_rows()
            ),
            now=datetime.now(UTC),
        )
    except OverLimit as error:
        version = store.data_version("judged_interactions", author)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(version or "none"),
            metadata={
                "nothing_to_do": author_panel.waits(home, error),
                "judged_now": 0,
                "scores_queued": 0,
            },
        )
    outbox = Outbox(outbox_path(settings.settings()))
    try:
        outbox.put_scores(scores, automatic=True)
    finally:
        outbox.close()
    judged = rows.select("trace_id", "version").with_columns(pl.lit(names).alias("judges"))
    done = store.sync(
        pl.concat([known.join(judged, on="trace_id", how="anti").select(list(COLUMNS)), judged]),
        "judged_interactions",
        author=author,
        key="trace_id",
        function=lambda frame: frame,
        version="1",
        schema=COLUMNS,
        row_key="trace_id",
    )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(done.data_version),
        metadata={
            **done.metadata(),
            "judged_now": rows.height,
            "scores_queued": len(scores),
            "judges": [judging_traces.score_name(judge) for judge in judges],
            **author_panel.told(panel),
        },
    )
