"""The asset `routing_labels`: own and paid answers to the same prompts, scored blind.

Belongs here: finding out whether anything may be bought, the judges, and telling what was.
Does not belong here: buying (`labelling.py`), what follows from the labels (`routing_policy`).

Where a tuned version has beaten an answer model, that larger one answers the same prompts too.
Nothing is bought without a sum: `TWIN_LABEL_BUDGET_PER_MONTH`, or `usd` in the run's configuration.
A label costs one answer of the paid model; each has its price in the table.
"""

import math
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import dagster as dg
import polars as pl

from twin_assets.evaluation.judged import author_panel
from twin_assets.partitions import authors
from twin_assets.serving import labelling, shadow_prompts
from twin_resources.access.account import account_of
from twin_resources.access.spending_limits import OverLimit
from twin_resources.authors.consent import what_keeps_here
from twin_resources.dagster_resources import (
    EmbedderResource,
    ModelServerResource,
    RegistryResource,
    SettingsResource,
    TablesResource,
)
from twin_resources.gateway.paid_answers import PaidAnswers
from twin_resources.models.serving.model_server import RunningServer
from twin_resources.registry.moves import ModelVersion
from twin_resources.registry.policy import larger_version


class LabelsConfig(dg.Config):
    """How far one materialization goes.

    Attributes:
        usd: at most, of this run; None: what `TWIN_LABEL_BUDGET_PER_MONTH` leaves.
        most_labels: of the stable version in all; None: `TWIN_ROUTING_LABELS`.
    """

    usd: float | None = None
    most_labels: int | None = None


@dg.asset(
    deps=["released_model", "interactions"],
    partitions_def=authors,
    group_name="serving",
    kinds={"lance"},
    pool="training",
)
def routing_labels(
    context: dg.AssetExecutionContext,
    config: LabelsConfig,
    settings: SettingsResource,
    tables: TablesResource,
    registry: RegistryResource,
    model_server: ModelServerResource,
    embedder: EmbedderResource,
) -> dg.MaterializeResult:
    """What the paid model would have answered, and how much better that is, for some prompts."""
    author, chosen, store = (
        settings.author(context.partition_key),
        settings.settings(),
        tables.tables(),
    )
    models = registry.registry()
    stable = models.stable(author.slug)
    limit = chosen.label_budget_per_month if config.usd is None else config.usd
    nothing = ""
    if not chosen.has_paid_route:
        nothing = "no paid model: TWIN_PAID_MODEL and TWIN_PAID_BUDGET_PER_DAY make one"
    elif kept := what_keeps_here(author):
        nothing = kept
    elif stable is None:
        nothing = "no stable version: nothing to compare with the paid model"
    elif not stable.base_gguf:
        nothing = "the stable version answers at an address: labels are bought for a model here"
    elif limit is None:
        nothing = "no sum: set TWIN_LABEL_BUDGET_PER_MONTH, or `usd` of this asset in a run"
    if nothing or stable is None or limit is None:
        known = store.data_version("routing_labels", author.slug)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(known or "none"), metadata={"nothing_to_do": nothing}
        )
    servers, loaded = model_server.servers(), embedder.embedder()
    try:
        panel = author_panel.panel_of(
            author,
            chosen,
            tables=store,
            state=models.state,
            servers=servers,
            embedder=loaded,
            say=context.log.info,
            margin=chosen.margin,
        )
        if not panel.claims:
            return dg.MaterializeResult(
                data_version=dg.DataVersion("no judge"),
                metadata={
                    "nothing_to_do": "no certified judge may decide",
                    **author_panel.told(panel),
                },
            )
        asked = (
            store.read("interactions", author.slug)
            if store.exists("interactions", author.slug)
            else None
        )
        readers = dict(asked.select("trace_id", "reader").iter_rows()) if asked is not None else {}
        account = account_of(chosen, models.state)
        most = chosen.routing_labels if config.most_labels is None else config.most_labels
        spent = account.spent(period="month", purpose="label").usd if config.usd is None else 0.0
        purchase = labelling.purchase_of(
            author, stable, panel, paid=chosen.paid_model, embedder=loaded.revision
        )
        prompts = shadow_prompts.shadow_prompts(
            asked,
            store.read("instruction_dataset", author.slug),
            shadow_prompts.shown_passages(store.read("document_chunks", author.slug)),
            fewest=most,
        )

        def serve(version: ModelVersion) -> AbstractContextManager[RunningServer]:
            name = f"{author.slug}/v{version.version}"
            return servers.serve(version.base_gguf or None, version.adapter_gguf, alias=name)

        paid = labelling.LabelSources(
            labelling.own_asker(author, lambda: serve(stable)),
            PaidAnswers(chosen.paid_model, account, author.slug),
            loaded.embed,
            readers,
        )
        found = labelling.buy(
            author,
            stable,
            prompts,
            panel,
            purchase,
            tables=store,
            sources=paid,
            most_labels=most,
            most_usd=max(0.0, limit - spent),
            margin=chosen.margin,
            say=context.log.info,
        )
        told = _stand(found, limit)
        larger = larger_version(models.versions(author.slug), named=author.answer_model)
        if larger is not None and found.labels:
            stored = labelling.stored_labels(store, author.slug)
            known = set(stored.filter(pl.col("purchase") == found.purchase)["prompt_id"].to_list())
            more = labelling.buy(
                author,
                stable,
                [prompt for prompt in prompts if prompt.prompt_id in known],
                panel,
                replace(purchase, paid=larger.checkpoint),
                tables=store,
                sources=replace(
                    paid,
                    paid=labelling.LargerAnswers(
                        author, lambda: serve(larger), chosen.self_hosted_usd_per_hour
                    ),
                ),
                most_labels=found.labels,  # of the same prompts
                most_usd=math.inf,
                margin=chosen.margin,
                say=context.log.info,
            )
            told |= {"larger_model": f"v{larger.version}", "labels_of_larger": more.labels}
            found = more
    except OverLimit as error:  # the judge's; the paid model's own ends the purchase
        known = store.data_version("routing_labels", author.slug)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(known or "none"),
            metadata={"nothing_to_do": author_panel.waits(chosen, error)},
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(found.data_version),
        metadata={**told, **author_panel.told(panel)},
    )


def _stand(found: labelling.PurchaseResult, limit: float) -> dict[str, Any]:
    """What was bought; no text of a prompt or an answer."""
    return {
        "purchase": found.purchase,
        "labels": found.labels,
        "plants": found.plants,
        "new_labels": found.new_labels,
        "usd": round(found.usd, 6),
        "usd_allowed": limit,
        "stopped": found.stopped,
        "withdrawn": list(found.withdrawn),
    }
