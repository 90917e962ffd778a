"""Fit an author's routing policy, and report it to Dagster; `twin routing` shows the savings.

Scope: reading labels and the policy in force, writing the fitted file, metadata.
Out of scope: the fit (`routing_fit.py`), the asset.

Without a paid model, there is nothing to choose, so there is no file and no metadata.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.serving import routing_fit, routing_table
from twin_assets.serving.labeling import read_labels
from twin_resources.access.paid_budget import answer_price_usd
from twin_resources.errors import TwinError
from twin_resources.gateway.costs.cost import self_hosted_usd_per_million_tokens
from twin_resources.quality.judges.label_rows import MODEL_COLUMNS, build_label_arrays
from twin_resources.quality.judges.pairs import probe_rows, withdrawn_claims
from twin_resources.quality.judges.panel import select_deciding_claims
from twin_resources.router.policy_file import (
    RoutingPolicy,
    policy_path,
    read_routing_policy,
    write_routing_policy,
)

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.registry.registry import Registry
    from twin_resources.settings import Settings
    from twin_resources.storage.tables.tables import Tables


@dataclass(frozen=True)
class AuthorRouting:
    """An author's routing after a fit.

    Attributes:
        reason: why this policy, or no policy, is in force, in one sentence.
        policy: policy in force, or None if nothing is routed.
        label_count: number of labels that the fit used.
        missing_label_count: estimated number of further labels that a policy needs.
    """

    reason: str
    policy: RoutingPolicy | None = None
    label_count: int = 0
    missing_label_count: int = 0

    @property
    def policy_key(self) -> str:
        """String that changes when the policy in force changes."""
        if self.policy is None:
            return ""
        return f"{self.policy.written_at} {self.policy.active_step_index}"


def fit_routing(
    author: Author, settings: Settings, tables: Tables, registry: Registry, *, server_key: str
) -> AuthorRouting | None:
    """Fit a policy to the stable version's labels, and write the policy in force.

    Args:
        server_key: key of the home's model server, whose throughput determines the model's price.

    Returns:
        The routing, or None without a paid route.

    Raises:
        TwinError: the paid model has no price, or a margin is invalid.
    """
    path = policy_path(settings.home, author.slug)

    def route_nothing(reason: str) -> AuthorRouting:
        path.unlink(missing_ok=True)
        return AuthorRouting(f"nothing is routed: {reason}")

    stable_version = registry.stable_version(author.slug)
    if not settings.has_paid_route:
        path.unlink(missing_ok=True)
        return None
    if stable_version is None:
        return route_nothing("no stable version")
    if not author.paid:
        return route_nothing("paid = false in the author's file")
    current_policy, unreadable_note = _read_current_policy(path)
    rows = read_labels(tables, author.slug).filter(
        (pl.col("own") == stable_version.checkpoint) & (pl.col("paid") == settings.paid_model)
    )
    if rows.is_empty():
        return route_nothing(
            "no labels for this version and this paid model; `twin routing` shows their cost"
        )
    newest_row = rows.sort("sequence").row(-1, named=True)
    claims, failed_claims = _find_deciding_claims(
        rows, newest_row["purchase"], margin=settings.margin
    )
    if failed_claims:
        return route_nothing(
            f"the judge of {', '.join(failed_claims)} no longer detects negative probes"
        )
    if not claims:
        return route_nothing("no certified judge has scored the labels")
    labels = build_label_arrays(rows, newest_row["purchase"], claims)
    priced_models = routing_fit.price_models(
        labels, stable_version.checkpoint, settings.paid_model, _read_prices(settings, server_key)
    )
    outcome = routing_fit.refit(
        author.slug,
        labels,
        current_policy,
        models=priced_models,
        embedder=newest_row["embedder"],
        judges=tuple(newest_row["judges"]),
        margin=settings.quality_margin,
    )
    if outcome.policy is None:
        path.unlink(missing_ok=True)
    elif outcome.policy is not current_policy:
        write_routing_policy(path, outcome.policy)
    reason = outcome.decision.reason + unreadable_note
    if outcome.withdrawal_reason:
        reason = f"the policy in force was withdrawn: {outcome.withdrawal_reason}; {reason}"
    return AuthorRouting(
        reason, outcome.policy, len(labels), missing_label_count=outcome.decision.missing_labels
    )


def routing_metadata(author_routing: AuthorRouting | None) -> dict[str, Any]:
    """Return the metadata for Dagster; empty without a paid model."""
    if author_routing is None:
        return {}
    entries: dict[str, Any] = {
        "routed": author_routing.policy is not None,
        "why": author_routing.reason,
        "labels": author_routing.label_count,
        "labels_missing": author_routing.missing_label_count,
    }
    if (policy := author_routing.policy) is not None:
        entries |= {
            "margin": policy.margin,
            "questions_to_own_model": round(1.0 - policy.step.kept, 3),
            "loses_at_most": round(-policy.step.lower, 4),
        }
    return entries


def _read_current_policy(path: Path) -> tuple[RoutingPolicy | None, str]:
    """Read the policy in force; return None and a note for the report if it is unreadable."""
    if not path.exists():
        return None, ""
    try:
        return read_routing_policy(path), ""
    except TwinError as error:
        return None, f"; the previous file was unreadable ({error.found})"


def _find_deciding_claims(
    rows: pl.DataFrame, purchase: str, *, margin: float
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the deciding claims, and those whose judges missed negative probes."""
    purchase_rows = rows.filter(pl.col("purchase") == purchase)
    scored_claims = {
        str(score["claim"]) for scores in purchase_rows["scores"].to_list() for score in scores
    }
    claims = select_deciding_claims(sorted(scored_claims))
    rows_of_probes = probe_rows(purchase_rows, purchase=purchase)
    return claims, withdrawn_claims(rows_of_probes, claims, margin=margin, columns=MODEL_COLUMNS)


def _read_prices(settings: Settings, server_key: str) -> routing_fit.ModelPrices:
    """Return the prices; the home model's is a marginal price from its measured throughput."""
    throughput = routing_table.read_throughput(
        settings.home / "gateway" / "throughput.json", server_key
    )
    own_usd = 0.0
    if throughput is not None and throughput.tokens_per_second > 0:
        own_usd = self_hosted_usd_per_million_tokens(
            settings.self_hosted_usd_per_hour, tokens_per_second=throughput.tokens_per_second
        )
    return routing_fit.ModelPrices(
        own_usd,
        answer_price_usd(settings.paid_model, prompt_tokens=1_000_000, answer_tokens=0),
        answer_price_usd(settings.paid_model, prompt_tokens=0, answer_tokens=1_000_000),
    )
