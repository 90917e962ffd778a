"""Fit an author's routing in a home, and report it to Dagster.

Scope: reading labels and the policy in force, writing the fitted file, metadata.
Out of scope: the fit (`routing_fit.py`), the asset.

Without a paid model there is no choice: no file, no metadata.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from twin_assets.serving import routing_fit, routing_table
from twin_assets.serving.labelling import stored_labels
from twin_resources.access.paid_budget import price_of
from twin_resources.errors import TwinError
from twin_resources.quality.judges.label_rows import OF_MODELS, LabelArrays, arrays_of
from twin_resources.quality.judges.pairs import lost_claims, plants_of
from twin_resources.quality.judges.panel import deciding
from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.ledger.routed import (
    RoutedAnswers,
    month_start,
    routed_answers,
    saved_usd,
)
from twin_resources.router.policy_file import (
    RoutingPolicy,
    policy_file,
    read_routing_policy,
    write_routing_policy,
)

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.registry.registry import Registry
    from twin_resources.settings import Settings
    from twin_resources.storage.tables.tables import Tables


OWN = "own"


@dataclass(frozen=True)
class RoutedAuthor:
    """An author's routing after a fit.

    Attributes:
        hidden: whether there is no paid model.
        reason: explanation of the result, one sentence.
        policy: policy in force, or None if nothing is routed.
        answers: answers of this month.
        own_since: answers of the own model this month, since the policy in force was written.
        paid_usd: costs of the paid answers to labels like those that the own model answers.
    """

    hidden: bool
    reason: str = ""
    policy: RoutingPolicy | None = None
    labels: int = 0
    missing: int = 0
    answers: RoutedAnswers = field(default_factory=RoutedAnswers)
    own_since: int = 0
    paid_usd: tuple[float, ...] = ()

    @property
    def mark(self) -> str:
        """Mark that changes with the policy in force."""
        if self.policy is None:
            return ""
        return f"{self.policy.written_at} {self.policy.in_force}"


def route(
    author: Author, settings: Settings, tables: Tables, models: Registry, *, server: str
) -> RoutedAuthor:
    """Fit the labels of the stable version and write the policy in force.

    Args:
        server: key of the own model's server, whose throughput determines its price.

    Raises:
        TwinError: the paid model has no price, or a margin is invalid.
    """
    path = policy_file(settings.home, author.slug)
    stable = models.stable(author.slug)
    if not settings.has_paid_route:
        path.unlink(missing_ok=True)
        return RoutedAuthor(hidden=True)
    if not author.paid or stable is None:
        path.unlink(missing_ok=True)
        why = "paid = false in the author's file" if stable else "no stable version"
        return RoutedAuthor(hidden=False, reason=f"nothing is routed: {why}")
    standing, unreadable = _standing(path)
    rows = stored_labels(tables, author.slug).filter(
        (pl.col("own") == stable.checkpoint) & (pl.col("paid") == settings.paid_model)
    )
    if rows.is_empty():
        path.unlink(missing_ok=True)
        return RoutedAuthor(
            hidden=False,
            reason="nothing is routed: no labels of this version and this paid model; "
            "`twin routing` says what they cost",
        )
    newest = rows.sort("sequence").row(-1, named=True)
    claims, lost = _claims(rows, newest["purchase"], margin=settings.margin)
    if not claims or lost:
        path.unlink(missing_ok=True)
        why = (
            f"the judge of {', '.join(lost)} no longer tells plants apart"
            if lost
            else "no certified judge has scored the labels"
        )
        return RoutedAuthor(hidden=False, reason=f"nothing is routed: {why}")
    labels = arrays_of(rows, newest["purchase"], claims)
    listed = routing_fit.models_of(
        labels, stable.checkpoint, settings.paid_model, _prices(settings, server)
    )
    outcome = routing_fit.refit(
        author.slug,
        labels,
        standing,
        models=listed,
        embedder=newest["embedder"],
        judges=tuple(newest["judges"]),
        margin=settings.quality_margin,
    )
    if outcome.policy is None:
        path.unlink(missing_ok=True)
    elif outcome.policy is not standing:
        write_routing_policy(path, outcome.policy)
    return _told(author.slug, models, labels, outcome, unreadable)


def metadata(routed: RoutedAuthor) -> dict[str, Any]:
    """Return the metadata for Dagster; empty without a paid model."""
    if routed.hidden:
        return {}
    entries: dict[str, Any] = {
        "routed": routed.policy is not None,
        "why": routed.reason,
        "labels": routed.labels,
        "labels_missing": routed.missing,
        "answers_this_month": {"own": routed.answers.own, "paid": routed.answers.paid},
        "paid_usd_this_month": round(routed.answers.paid_usd, 6),
        "minutes_margin_not_held": routed.answers.minutes_not_held,
        "measured_utilisation": round(routed.answers.utilisation, 4),
    }
    policy = routed.policy
    if policy is not None:
        usd, low, high = saved_usd(routed.own_since, routed.paid_usd)
        entries |= {
            "margin": policy.margin,
            "questions_to_own_model": round(1.0 - policy.step.kept, 3),
            "loses_at_most": round(-policy.step.lower, 4),
            "saved_this_month": f"${usd:.4f} (95 %: ${low:.4f} to ${high:.4f})",
            "who_answers_which_class": dg.MetadataValue.md(class_rows(policy, routed.answers)),
        }
    return entries


def class_rows(policy: RoutingPolicy, answers: RoutedAnswers) -> str:
    """Return the table of classes as Markdown."""
    gains = {row.prompt_class: row for row in policy.classes}
    lines = ["| class | labels | gain of paid, 95 % | own | paid |", "|---|---|---|---|---|"]
    for name in sorted({*gains, *answers.classes}):
        gain, counted = gains.get(name), answers.classes.get(name)
        interval = f"{gain.gain:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]" if gain else "–"
        lines.append(
            f"| {name} | {gain.labels if gain else 0} | {interval} | "
            f"{counted.own if counted else 0} | {counted.paid if counted else 0} |"
        )
    return "\n".join(lines)


def _standing(path: Path) -> tuple[RoutingPolicy | None, str]:
    """Read the policy in force; for an unreadable one return None and a note for the report."""
    if not path.exists():
        return None, ""
    try:
        return read_routing_policy(path), ""
    except TwinError as error:
        return None, f"; the file that stood there was unreadable ({error.found})"


def _claims(
    rows: pl.DataFrame, purchase: str, *, margin: float
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the deciding claims, and those whose judge has failed on this purchase's plants."""
    mine = rows.filter(pl.col("purchase") == purchase)
    scored = {str(score["claim"]) for scores in mine["scores"].to_list() for score in scores}
    claims = deciding(sorted(scored))
    plants = plants_of(mine, purchase=purchase)
    return claims, lost_claims(plants, claims, margin=margin, of=OF_MODELS)


def _prices(settings: Settings, server: str) -> routing_fit.ModelPrices:
    """Return prices; the own model's is marginal, by its measured tokens per second."""
    measured = routing_table.read_throughput(settings.home / "gateway" / "throughput.json", server)
    own = 0.0
    if measured is not None and measured.tokens_per_second > 0:
        own = routing_table.self_hosted_usd_per_million_tokens(
            settings.self_hosted_usd_per_hour, tokens_per_second=measured.tokens_per_second
        )
    return routing_fit.ModelPrices(
        own,
        price_of(settings.paid_model, prompt_tokens=1_000_000, answer_tokens=0),
        price_of(settings.paid_model, prompt_tokens=0, answer_tokens=1_000_000),
    )


def _told(
    author: str,
    models: Registry,
    labels: LabelArrays,
    outcome: routing_fit.FitOutcome,
    unreadable: str,
) -> RoutedAuthor:
    ledger_tables.open_tables(models.state)
    month = month_start()
    with models.state.reading() as connection:
        answers = routed_answers(connection, author, since=month)
        since = answers
        if outcome.policy is not None:
            written = datetime.fromisoformat(outcome.policy.written_at)
            since = routed_answers(connection, author, since=max(month, written))
    reason = outcome.adopted.reason
    if outcome.withdrawn:
        reason = f"the policy in force was withdrawn: {outcome.withdrawn}; {reason}"
    return RoutedAuthor(
        hidden=False,
        reason=reason + unreadable,
        policy=outcome.policy,
        labels=len(labels),
        missing=outcome.adopted.missing,
        answers=answers,
        own_since=since.own,
        paid_usd=tuple(float(usd) for usd in outcome.policy.usd_of_own) if outcome.policy else (),
    )
