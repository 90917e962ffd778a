"""Schedule `learn_routing` every night for each author whose routing policy needs work.

Scope: the code between Dagster and `router/learning_decision.py`.
Out of scope: the decision, and the assets of the job (`jobs.py`).

Only homes with a paid model have this schedule, because other homes do not route questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import dagster as dg
import sqlalchemy as sa

from twin_resources.authors import Author, list_readable_authors
from twin_resources.authors.consent import find_external_use_refusal
from twin_resources.quality.ledger import ledger_tables as ledger
from twin_resources.quality.ledger.routed_answers import month_start
from twin_resources.registry.registry import Registry
from twin_resources.router.learning_decision import (
    ComparedModels,
    LearningDecision,
    LearningState,
    decide_learning,
)
from twin_resources.settings import Settings
from twin_resources.storage.state.failure_isolation import isolate_failure
from twin_resources.storage.tables.tables import Tables
from twin_sensors.dagster_run_records import DagsterRunRecords
from twin_sensors.jobs import learn_routing
from twin_sensors.schedules import request_runs


@dg.schedule(
    job=learn_routing,
    cron_schedule="15 4 * * *",  # after the night's imports, and before most questions
    description="Starts `learn_routing` for each author whose missing labels fit this month's "
    "budget, or whose routing policy was fitted for another version, paid model or embedder. No "
    "labels are bought without TWIN_LABEL_BUDGET_PER_MONTH, or if they would not pay off.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def learn_routing_every_night(
    context: dg.ScheduleEvaluationContext,
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[Registry],
    tables: dg.ResourceParam[Tables],
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Start `learn_routing` for each author whose run would have work to do."""
    scheduled_at = context.scheduled_execution_time
    if not settings.has_paid_route:
        yield dg.SkipReason("no paid model: set TWIN_PAID_MODEL and TWIN_PAID_BUDGET_PER_DAY")
        return
    if settings.label_budget_per_month is None:
        yield dg.SkipReason("no budget for labels: set TWIN_LABEL_BUDGET_PER_MONTH")
        return
    authors, messages = list_readable_authors(settings)
    runs = DagsterRunRecords(context.instance, job=learn_routing.name)
    slugs: list[str] = []
    for author in authors:
        if author.slug in runs.in_flight_run_ids():
            messages.append(f"{author.slug}: a run of learn_routing is in progress")
            continue
        if reason := find_external_use_refusal(author):
            messages.append(f"{author.slug}: {reason}")
            continue
        last_success = runs.newest_success(author.slug)
        learned_at = None if last_success is None else last_success.created
        with isolate_failure(author.slug, messages.append):
            decision = _decide_learning_of_author(
                author, settings, registry, tables, learned_at=learned_at, now=scheduled_at
            )
            messages.append(f"{author.slug}: {decision.reason}")
            slugs += [author.slug] if decision.should_run else []
    message = "\n".join(messages) or "no author"
    context.log.info(message)
    yield from request_runs(
        context, registry.state, learn_routing.name, slugs, kind="learn", skip_message=message
    )


def build_learning_schedules(settings: Settings) -> Sequence[dg.ScheduleDefinition]:
    """Return the schedule if a paid model is configured, else an empty list."""
    return [learn_routing_every_night] if settings.has_paid_route else []


def _decide_learning_of_author(
    author: Author,
    settings: Settings,
    registry: Registry,
    tables: Tables,
    *,
    learned_at: float | None,
    now: datetime,
) -> LearningDecision:
    from twin_resources.access.account import open_account
    from twin_resources.models.embedder.embedder import find_prepared_embedder
    from twin_resources.quality.judges.label_payback import estimate_payback
    from twin_resources.router.policy_file import policy_path, read_routing_policy

    stable_version = registry.stable_version(author.slug)
    ledger.open_tables(registry.state)
    current_models = None
    if stable_version is not None and stable_version.base_gguf:
        revision = find_prepared_embedder(settings)[1].revision
        current_models = ComparedModels(stable_version.checkpoint, settings.paid_model, revision)
    path, policy, policy_models = policy_path(settings.home, author.slug), None, None
    if path.exists():
        policy = read_routing_policy(path)
        policy_models = ComparedModels(
            policy.models[0].model, policy.models[-1].model, policy.embedder
        )
    with registry.state.read_transaction() as connection:
        label_count, payback = estimate_payback(
            settings, author.slug, label_models=current_models, policy=policy, tables=tables,
            connection=connection, now=now,
        )  # fmt: skip
    remaining_usd = open_account(settings, registry.state).remaining_usd(
        purpose="label", author=author.slug
    )
    return decide_learning(
        LearningState(
            current_models=current_models,
            policy_models=policy_models,
            label_count=label_count,
            max_labels=settings.routing_labels,
            usd_left=float("inf") if remaining_usd is None else remaining_usd,
            payback=payback,
            changed_at=max(
                _find_newest_question_time(registry, author.slug), month_start(now).timestamp()
            ),
            last_run_at=learned_at,
        )
    )


def _find_newest_question_time(registry: Registry, author: str) -> float:
    """Return the time of the author's newest question in seconds since the epoch, or 0."""
    with registry.state.read_transaction() as connection:
        newest_ms = connection.execute(
            sa.select(sa.func.max(ledger.traces.c.started_ms)).where(
                ledger.traces.c.author == author
            )
        ).scalar()
    return (newest_ms or 0) / 1000
