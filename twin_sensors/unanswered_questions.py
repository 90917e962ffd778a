"""Tell each author on Monday what readers asked and no post answered."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from twin_resources.dagster_resources import RetrieverResource
from twin_resources.models.quotes.unanswered import build_notice, find_unanswered
from twin_resources.models.retrieval.question_rules import QuestionRules
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.observability.notifications import announce
from twin_resources.quality.ledger.interactions_frame import authors_with_answers
from twin_resources.quality.ledger.ledger_tables import open_tables
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State
from twin_sensors.schedules import request_runs

WEEK = timedelta(days=7)


@dg.op
def announce_questions(
    context: dg.OpExecutionContext,
    settings: dg.ResourceParam[Settings],
    state: dg.ResourceParam[State],
    retriever: dg.ResourceParam[RetrieverResource],
) -> None:
    """Queue a notice about the unanswered questions of the last week, if there are any."""
    author, now = context.partition_key, datetime.now(UTC)
    with LangfuseClient.from_settings(settings) as client:
        clusters = find_unanswered(
            client,
            retriever.retriever(),
            QuestionRules(lambda: state),
            author,
            since=(now - WEEK).isoformat(),
        )
    context.log.info(f"{len(clusters)} subjects of unanswered questions")
    if clusters:
        notice = build_notice(author, clusters, now=now)
        with state.transaction() as connection:
            announce(connection, notice, at=now.timestamp())


@dg.job(
    partitions_def=dg.DynamicPartitionsDefinition(name="authors"),
    description="Tell an author which questions of the last week no post answered.",
    executor_def=dg.in_process_executor,
)
def list_unanswered_questions() -> None:
    """Run the only step, `announce_questions`."""
    announce_questions()


@dg.schedule(
    job=list_unanswered_questions,
    cron_schedule="0 7 * * 1",
    description="Starts `list_unanswered_questions` on Monday for each author whose twin has "
    "answered in the last week.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def list_unanswered_questions_every_monday(
    context: dg.ScheduleEvaluationContext, state: dg.ResourceParam[State]
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Start `list_unanswered_questions` for each author whose twin answered in the last week."""
    open_tables(state)
    with state.read_transaction() as connection:
        slugs = authors_with_answers(connection, since=context.scheduled_execution_time - WEEK)
    yield from request_runs(
        context,
        state,
        list_unanswered_questions.name,
        slugs,
        kind="questions",
        skip_message="no twin answered in the last week",
    )
