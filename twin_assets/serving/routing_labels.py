"""Define the asset `routing_labels`: the home model's and the paid model's answers, scored blind.

Scope: checking whether labels may be bought, assembling the judges, reporting the purchase.
Out of scope: buying (`labeling.py`), the use of the labels (`routing_policy`).

Nothing is bought without a limit: `TWIN_LABEL_BUDGET_PER_MONTH`, or `usd` in the run's
configuration. A label costs one answer of the paid model; the table stores the cost of each label.
"""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from twin_assets.evaluation.judging import author_panel
from twin_assets.serving import labeling, shadow_prompts
from twin_assets.serving.judged_batches import ask_version
from twin_assets.table_assets import report_materialization, report_unchanged, table_asset
from twin_resources.access.account import open_account
from twin_resources.access.spending_limits import OverLimitError
from twin_resources.authors import Author, read_author
from twin_resources.authors.consent import find_external_use_refusal
from twin_resources.dagster_resources import EmbedderResource
from twin_resources.gateway.costs.paid_model_client import PaidModelClient
from twin_resources.models.embedder.embedder import Embedder
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.quality.judges.label_rows import TABLE
from twin_resources.quality.judges.panel import Panel
from twin_resources.registry.moves import ModelVersion
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables


class LabelsConfig(dg.Config):
    """Limits of one materialization.

    Attributes:
        usd: maximum cost of this run in US dollars; None for the remainder of
            `TWIN_LABEL_BUDGET_PER_MONTH`.
        most_labels: maximum number of labels for the stable version; None for
            `Constants.routing_labels`.
    """

    usd: float | None = None
    most_labels: int | None = None


@table_asset(group_name="serving", deps=["released_model", "interactions"], pool="training")
def routing_labels(
    context: dg.AssetExecutionContext,
    config: LabelsConfig,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
    registry: dg.ResourceParam[Registry],
    model_server: dg.ResourceParam[ModelServers],
    embedder: EmbedderResource,
) -> dg.MaterializeResult:
    """Answers of the paid model to some prompts, with the scores of both models' answers."""
    author = read_author(settings, context.partition_key)
    stable_version = registry.stable_version(author.slug)
    limit_usd = settings.label_budget_per_month if config.usd is None else config.usd
    idle_reason = _idle_reason(author, settings, stable_version, limit_usd)
    if idle_reason or stable_version is None or limit_usd is None:
        return report_unchanged(tables, TABLE, author.slug, reason=idle_reason)
    loaded_embedder = embedder.embedder()
    try:
        panel = author_panel.assemble_author_panel(
            author,
            settings,
            tables=tables,
            state=registry.state,
            servers=model_server,
            embedder=loaded_embedder,
            log=context.log.info,
            margin=settings.margin,
        )
        if not panel.claims:
            reason = "no judge is certified to decide"
            return report_materialization(
                "no judge", {"nothing_to_do": reason, **author_panel.panel_metadata(panel)}
            )
        result = _buy_labels(
            author,
            stable_version,
            panel,
            config,
            settings=settings,
            tables=tables,
            registry=registry,
            servers=model_server,
            embedder=loaded_embedder,
            limit_usd=limit_usd,
            log=context.log.info,
        )
    except OverLimitError as error:  # the judge's; the paid model's limit only ends the purchase
        return report_unchanged(
            tables, TABLE, author.slug, reason=author_panel.build_waiting_message(settings, error)
        )
    return report_materialization(
        result.data_version,
        {**_purchase_metadata(result, limit_usd), **author_panel.panel_metadata(panel)},
    )


def _idle_reason(
    author: Author, settings: Settings, stable: ModelVersion | None, limit_usd: float | None
) -> str:
    """Return why no labels can be bought now, or an empty string if they can."""
    if not settings.has_paid_route:
        return "no paid model: set TWIN_PAID_MODEL and TWIN_PAID_BUDGET_PER_DAY"
    if reason := find_external_use_refusal(author):
        return reason
    if stable is None:
        return "no stable version: nothing to compare with the paid model"
    if not stable.base_gguf and (stable.is_answer_model or not settings.model_server_url):
        return "the stable version is served remotely, but labels are bought only for local models"
    if limit_usd is None:
        return "no budget: set TWIN_LABEL_BUDGET_PER_MONTH, or `usd` in this run's configuration"
    return ""


def _buy_labels(
    author: Author,
    stable: ModelVersion,
    panel: Panel,
    config: LabelsConfig,
    *,
    settings: Settings,
    tables: Tables,
    registry: Registry,
    servers: ModelServers,
    embedder: Embedder,
    limit_usd: float,
    log: Callable[[str], object],
) -> labeling.PurchaseResult:
    """Buy labels for the stable version within the limits of this run and of the month."""
    account = open_account(settings, registry.state)
    spent_usd = 0.0
    if config.usd is None:  # if this run has its own limit, the month's expenses do not count
        spent_usd = account.sum_spending(period="month", purpose="label").usd
    max_labels = settings.routing_labels if config.most_labels is None else config.most_labels
    purchase = labeling.build_label_purchase(
        author, stable, panel, paid=settings.paid_model, embedder=embedder.revision
    )
    sources = labeling.LabelSources(
        lambda messages: ask_version(
            lambda: servers.serve_version(stable),
            messages,
            author,
            max_tokens=labeling.MAX_TOKENS,
        ),
        PaidModelClient(settings.paid_model, account, author.slug),
        embedder.embed,
        _read_reader_ids(tables, author.slug),
    )
    return labeling.buy_labels(
        author,
        stable,
        shadow_prompts.read_prompts(tables, author.slug, min_prompts=max_labels),
        panel=panel,
        purchase=purchase,
        tables=tables,
        sources=sources,
        max_labels=max_labels,
        max_usd=max(0.0, limit_usd - spent_usd),
        margin=settings.margin,
        log=log,
    )


def _read_reader_ids(tables: Tables, author: str) -> Mapping[str, str]:
    """Return the reader of each recorded prompt, by trace id."""
    prompts = shadow_prompts.read_interactions(tables, author)
    return {} if prompts is None else dict(prompts.select("trace_id", "reader").iter_rows())


def _purchase_metadata(
    purchase_result: labeling.PurchaseResult, limit_usd: float
) -> dict[str, Any]:
    """Return the result of a purchase, without text of prompts or answers."""
    return {
        "purchase": purchase_result.purchase,
        "labels": purchase_result.label_count,
        "plants": purchase_result.probe_count,
        "new_labels": purchase_result.new_label_count,
        "usd": round(purchase_result.usd, 6),
        "usd_allowed": limit_usd,
        "stopped": purchase_result.stop_reason,
        "withdrawn": list(purchase_result.withdrawn_claims),
    }
