"""The asset `routing_policy`: which model answers an author's readers; the gateway follows it live.

Belongs here: the asset. Does not belong here: the table and the cost report (`routing`), fitting
labels (`routing_fit`), what is told of it (`routing_report`), writing the policy object
(`twin_resources/registry/registry.py`).
"""

import hashlib
import json

import dagster as dg

from twin_assets.partitions import authors
from twin_assets.serving import routing, routing_report
from twin_resources.dagster_resources import RegistryResource, SettingsResource, TablesResource
from twin_resources.registry.policy import LARGER


@dg.asset(
    deps=["released_model", "routing_labels"],
    partitions_def=authors,
    group_name="serving",
    kinds={"json"},
    code_version=str(routing.SCHEMA),
)
def routing_policy(
    context: dg.AssetExecutionContext,
    registry: RegistryResource,
    settings: SettingsResource,
    tables: TablesResource,
) -> dg.MaterializeResult:
    """The author's routing table, written into the policy object with the registry's versions.

    With a paid model and labels a fitted policy lies beside it, by which the gateway chooses for
    each question. What the loop has diverted stays in it while the version that fell is stable."""
    author, chosen, models = context.partition_key, settings.settings(), registry.registry()
    decided = routing.routing_table(
        paid_model=chosen.paid_model,
        paid_budget_per_day=chosen.paid_budget_per_day,
        canary_share=settings.author(author).canary_share,
    )
    stable = models.stable(author)
    policy = models.change_routing(
        author,
        lambda before: routing.with_divert(
            decided, before, stable=stable.version if stable else None
        ),
    ).authors[author]
    table = dict(policy.routing)
    server = f"{author}/v{policy.stable.version}" if policy.stable else "base"
    report: dict[str, float | int | str] = {
        "cost": "an answer model at an address: what it charges is not known here"
    }
    if not (policy.stable and policy.stable.is_elsewhere):
        report = routing.cost_report(
            chosen.self_hosted_usd_per_hour,
            measured=routing.read_throughput(chosen.home / "gateway" / "throughput.json", server),
            paid_blended=routing.paid_blended_usd(chosen.paid_model) if table["paid"] else None,
        )
    routed = routing_report.route(
        settings.author(author), chosen, tables.tables(), models, server=server
    )
    larger = models.by_checkpoint(routed.larger, author=author) if routed.larger else None
    if (f"v{larger.version}" if larger else None) != table.get(LARGER):
        models.change_routing(author, lambda before: routing.with_larger(before, larger))
        table = routing.with_larger(table, larger)
    digest = hashlib.sha256(
        json.dumps([table, server, dict(policy.weights), routed.mark], sort_keys=True).encode()
    )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(digest.hexdigest()),
        metadata={
            "answers": server,
            "weights": dict(policy.weights) or {"base": 1.0},
            "routing": table,
            "policy": dg.MetadataValue.path(str(chosen.policy_path)),
            **report,
            **routing_report.metadata(routed),
        },
    )
