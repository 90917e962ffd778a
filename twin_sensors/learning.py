"""Schedule the learning of routing: each night, for each author with something to learn.

Scope: the code between Dagster and `router/learning_decision.py`.
Out of scope: the decision, the work of the job (`jobs.py`).

Only a home with a paid model has this schedule; `routing_policy` also shows routing only there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import dagster as dg
import sqlalchemy as sa

from twin_resources.authors import Author, readable_authors
from twin_resources.authors.consent import what_keeps_here
from twin_resources.idempotent_launch import RunLaunch
from twin_resources.quality.ledger import ledger_tables as ledger
from twin_resources.quality.ledger.routed import month_start
from twin_resources.registry.registry import Registry
from twin_resources.router.learning_decision import (
    LabelsOf,
    LearningDecision,
    LearningState,
    decide_learning,
)
from twin_resources.settings import Settings
from twin_resources.storage.state.isolating import isolate_failure
from twin_resources.storage.tables.tables import Tables
from twin_sensors.dagster_run_records import DagsterRunRecords
from twin_sensors.jobs import learn_routing
from twin_sensors.launchable_runs import LaunchClaims, launchable
from twin_sensors.schedules import launches_at, requested


@dg.schedule(
    job=learn_routing,
    cron_schedule="15 4 * * *",  # after the night's imports, and before most questions
    description="Starts `learn_routing` for each author for whom labels are missing and this "
    "month's money buys some, or whose routing policy is of another version, paid model or "
    "embedder. Buys nothing without TWIN_LABEL_BUDGET_PER_MONTH, nor where it would not pay.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def learn_routing_every_night(
    context: dg.ScheduleEvaluationContext,
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[Registry],
    tables: dg.ResourceParam[Tables],
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Start `learn_routing` for each author for whom a run would find something to do."""
    at = context.scheduled_execution_time
    if not settings.has_paid_route:
        yield dg.SkipReason("no paid model: TWIN_PAID_MODEL and TWIN_PAID_BUDGET_PER_DAY make one")
        return
    if settings.label_budget_per_month is None:
        yield dg.SkipReason("no money for labels: TWIN_LABEL_BUDGET_PER_MONTH says how much")
        return
    authors, lines = readable_authors(settings)
    by_slug = {author.slug: author for author in authors}
    ready, held = launchable(context.instance, launches_at(at, by_slug, kind="learn"))
    lines += held
    runs = DagsterRunRecords(context.instance, job=learn_routing.name)
    wanted: list[RunLaunch] = []
    for launch in ready:
        author = by_slug[launch.author]
        if author.slug in runs.in_flight():
            lines.append(f"{author.slug}: such a run goes on")
            continue
        if reason := what_keeps_here(author):
            lines.append(f"{author.slug}: {reason}")
            continue
        learned = runs.newest_success(author.slug)
        learned_at = None if learned is None else learned.created
        with isolate_failure(author.slug, lines.append):
            decision = _decided(author, settings, registry, tables, learned_at=learned_at, at=at)
            lines.append(f"{author.slug}: {decision.said}")
            wanted += [launch] if decision.learn else []
    message = "\n".join(lines) or "no author"
    context.log.info(message)
    claims = LaunchClaims(registry.state, learn_routing.name)
    yield from requested(context, wanted, claims, otherwise=message)


def schedules_of(settings: Settings) -> Sequence[dg.ScheduleDefinition]:
    """Return the schedule if there is a paid model."""
    return [learn_routing_every_night] if settings.has_paid_route else []


def _decided(
    author: Author,
    settings: Settings,
    models: Registry,
    store: Tables,
    *,
    learned_at: float | None,
    at: datetime,
) -> LearningDecision:
    from twin_resources.access.account import account_of
    from twin_resources.models.embedder.embedder import find_prepared
    from twin_resources.quality.judges.label_payback import payback_of
    from twin_resources.router.policy_file import policy_file, read_routing_policy

    stable = models.stable(author.slug)
    ledger.open_tables(models.state)
    now_of = None
    if stable is not None and stable.base_gguf:
        revision = find_prepared(settings)[1].revision
        now_of = LabelsOf(stable.checkpoint, settings.paid_model, revision)
    path, policy, policy_of = policy_file(settings.home, author.slug), None, None
    if path.exists():
        policy = read_routing_policy(path)
        policy_of = LabelsOf(policy.models[0].model, policy.models[-1].model, policy.embedder)
    with models.state.reading() as connection:
        labels, payback = payback_of(
            settings, author.slug, of=now_of, policy=policy, tables=store,
            connection=connection, at=at,
        )  # fmt: skip
    left = account_of(settings, models.state).left(purpose="label", author=author.slug)
    return decide_learning(
        LearningState(
            now_of=now_of,
            policy_of=policy_of,
            labels=labels,
            wanted=settings.routing_labels,
            usd_left=float("inf") if left is None else left,
            payback=payback,
            changed_at=max(_newest_question(models, author.slug), month_start(at).timestamp()),
            learned_at=learned_at,
        )
    )


def _newest_question(models: Registry, author: str) -> float:
    """Return the time of the author's newest question, in seconds since 1970; 0 without one."""
    with models.state.reading() as connection:
        newest = connection.execute(
            sa.select(sa.func.max(ledger.traces.c.started_ms)).where(
                ledger.traces.c.author == author
            )
        ).scalar()
    return (newest or 0) / 1000
