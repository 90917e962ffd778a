"""Define the asset `routing_policy`: the choice of the model that answers an author's readers.

Scope: the asset, which the gateway follows live. Out of scope: the table and the cost report
(`routing_table.py`), fitting labels (`routing_fit.py`), reporting (`routing_report.py`), writing
the policy object (`twin_resources/registry/registry.py`).
"""

import hashlib
import json

import dagster as dg

from twin_assets.partitions import authors
from twin_assets.serving import routing_report, routing_table
from twin_resources.access.paid_budget import answer_price_usd
from twin_resources.authors import Author, read_author
from twin_resources.registry.policy import AuthorPolicy
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables


@dg.asset(
    deps=["released_model", "routing_labels"],
    partitions_def=authors,
    group_name="serving",
    kinds={"json"},
    code_version=str(routing_table.SCHEMA_VERSION),
)
def routing_policy(
    context: dg.AssetExecutionContext,
    registry: dg.ResourceParam[Registry],
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
) -> dg.MaterializeResult:
    """The author's routing table, written into the policy object with the registry's versions.

    With a paid model and labels, a policy is also fitted, which chooses a model for each question.
    """
    author = read_author(settings, context.partition_key)
    policy = _set_routing_table(author, settings, registry)
    server = f"{author.slug}/v{policy.stable.version}" if policy.stable else "base"
    routing = routing_report.fit_routing(author, settings, tables, registry, server_key=server)
    return dg.MaterializeResult(
        data_version=_data_version(policy, server, routing),
        metadata={
            "answers": server,
            "weights": dict(policy.weights) or {"base": 1.0},
            "routing": dict(policy.routing),
            "policy": dg.MetadataValue.path(str(settings.policy_path)),
            **routing_report.routing_metadata(routing),
        },
    )


def _set_routing_table(author: Author, settings: Settings, registry: Registry) -> AuthorPolicy:
    """Store the settings' routing table in the policy object; return the author's part of it."""
    if settings.has_paid_route:  # a model without a price is refused before it is stored
        answer_price_usd(settings.paid_model, prompt_tokens=1, answer_tokens=1)
    table = routing_table.build_routing_table(
        paid_model=settings.paid_model,
        paid_budget_per_day=settings.paid_budget_per_day,
    )
    return registry.set_routing(author.slug, table).authors[author.slug]


def _data_version(
    policy: AuthorPolicy, server: str, author_routing: routing_report.AuthorRouting | None
) -> dg.DataVersion:
    policy_key = author_routing.policy_key if author_routing else ""
    parts = [dict(policy.routing), server, dict(policy.weights), policy_key]
    return dg.DataVersion(hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest())
