"""Define the asset `routing_labels`: own and paid answers to the same prompts, scored blind.

Scope: checking whether labels may be bought, the judges, and reporting the purchase.
Out of scope: buying (`labelling.py`), the use of the labels (`routing_policy`).

Nothing is bought without a limit: `TWIN_LABEL_BUDGET_PER_MONTH`, or `usd` in the run's
configuration. A label costs one answer of the paid model; the table has the price of each.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import dagster as dg

from twin_assets.evaluation.judged import author_panel
from twin_assets.serving import labelling, shadow_prompts
from twin_assets.table_assets import left_as_it_was, materialized, table_asset
from twin_resources.access.account import account_of
from twin_resources.access.spending_limits import OverLimit
from twin_resources.authors import Author, read_author
from twin_resources.authors.consent import what_keeps_here
from twin_resources.dagster_resources import (
    EmbedderResource,
)
from twin_resources.gateway.costs.paid_answers import PaidAnswers
from twin_resources.models.embedder.embedder import Embedder
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.models.serving.running_server import RunningServer
from twin_resources.quality.judges.label_rows import TABLE
from twin_resources.quality.judges.panel import Panel
from twin_resources.registry.moves import ModelVersion
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables


class LabelsConfig(dg.Config):
    """Limits of one materialization.

    Attributes:
        usd: largest cost of this run; None for the rest of `TWIN_LABEL_BUDGET_PER_MONTH`.
        most_labels: largest number for the stable version; None for `Constants.routing_labels`.
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
    """Answers of the paid model to some prompts, with their gain over the own model's."""
    author = read_author(settings, context.partition_key)
    stable = registry.stable(author.slug)
    limit = settings.label_budget_per_month if config.usd is None else config.usd
    nothing = _nothing_to_buy(author, settings, stable, limit)
    if nothing or stable is None or limit is None:
        return left_as_it_was(tables, TABLE, author.slug, because=nothing)
    loaded = embedder.embedder()
    try:
        panel = author_panel.panel_of(
            author,
            settings,
            tables=tables,
            state=registry.state,
            servers=model_server,
            embedder=loaded,
            log=context.log.info,
            margin=settings.margin,
        )
        if not panel.claims:
            why = "no certified judge may decide"
            return materialized("no judge", {"nothing_to_do": why, **author_panel.told(panel)})
        buyer = _Buyer(
            author, settings, config, tables, registry, model_server, loaded, context.log.info
        )
        version, account = buyer.buy(stable, panel, limit=limit)
    except OverLimit as error:  # the judge's limit; the paid model's own ends the purchase
        return left_as_it_was(
            tables, TABLE, author.slug, because=author_panel.waits(settings, error)
        )
    return materialized(version, {**account, **author_panel.told(panel)})


def _nothing_to_buy(
    author: Author, home: Settings, stable: ModelVersion | None, limit: float | None
) -> str:
    """Return why no label can be bought now; empty if one can."""
    if not home.has_paid_route:
        return "no paid model: TWIN_PAID_MODEL and TWIN_PAID_BUDGET_PER_DAY make one"
    if reason := what_keeps_here(author):
        return reason
    if stable is None:
        return "no stable version: nothing to compare with the paid model"
    if not stable.base_gguf and (stable.is_answer_model or not home.model_server_url):
        return "the stable version answers at an address: labels are bought for a model here"
    if limit is None:
        return "no sum: set TWIN_LABEL_BUDGET_PER_MONTH, or `usd` of this asset in a run"
    return ""


@dataclass(frozen=True)
class _Buyer:
    """One materialization: labels of the paid model."""

    author: Author
    home: Settings
    config: LabelsConfig
    tables: Tables
    models: Registry
    servers: ModelServers
    embedder: Embedder
    say: Callable[[str], object]

    def buy(
        self, stable: ModelVersion, panel: Panel, *, limit: float
    ) -> tuple[str, dict[str, Any]]:
        """Buy labels; return the table's data version and a report."""
        author, home = self.author, self.home
        account = account_of(home, self.models.state)
        once = self.config.usd is not None  # this run's own limit ignores the month
        spent = 0.0 if once else account.spent(period="month", purpose="label").usd
        most = self.config.most_labels
        most = home.routing_labels if most is None else most
        purchase = labelling.purchase_of(
            author, stable, panel, paid=home.paid_model, embedder=self.embedder.revision
        )
        prompts = shadow_prompts.stored_prompts(self.tables, author.slug, fewest=most)
        sources = labelling.LabelSources(
            labelling.own_asker(author, lambda: self._serve(stable)),
            PaidAnswers(home.paid_model, account, author.slug),
            self.embedder.embed,
            self._readers(),
        )
        purchase_made = labelling.buy(
            author,
            stable,
            prompts,
            panel=panel,
            purchase=purchase,
            tables=self.tables,
            sources=sources,
            most_labels=most,
            most_usd=max(0.0, limit - spent),
            margin=home.margin,
            log=self.say,
        )
        return purchase_made.data_version, _stand(purchase_made, limit)

    def _readers(self) -> Mapping[str, str]:
        """Return the reader of each recorded prompt, by trace id."""
        prompts = shadow_prompts.recorded_interactions(self.tables, self.author.slug)
        return {} if prompts is None else dict(prompts.select("trace_id", "reader").iter_rows())

    def _serve(self, version: ModelVersion) -> AbstractContextManager[RunningServer]:
        return self.servers.serve_version(version)


def _stand(purchased: labelling.PurchaseResult, limit: float) -> dict[str, Any]:
    """Return the result of a purchase, without text of prompts or answers."""
    return {
        "purchase": purchased.purchase,
        "labels": purchased.labels,
        "plants": purchased.plants,
        "new_labels": purchased.new_labels,
        "usd": round(purchased.usd, 6),
        "usd_allowed": limit,
        "stopped": purchased.stopped,
        "withdrawn": list(purchased.withdrawn),
    }
