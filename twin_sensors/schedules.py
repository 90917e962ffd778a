"""What happens by the clock: feedback is collected every hour, costs are compared every day.

Belongs here: times. Does not belong here: what the jobs do (`jobs.py`), what an event starts
(the sensors).
"""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from twin_resources.dagster_resources import StateResource
from twin_resources.ledger.interactions import authors_answering
from twin_resources.ledger.schema import open_tables
from twin_sensors.jobs import collect_feedback, compare_authors

# Longer than the distance of two ticks: an answer that the ledger read late is not passed over.
LOOKED_BACK = timedelta(hours=3)


@dg.schedule(
    job=collect_feedback,
    cron_schedule="5 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def every_hour(
    context: dg.ScheduleEvaluationContext, state: StateResource
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Interactions, judgements, evidence and marts of each author who has answered lately."""
    at = context.scheduled_execution_time
    store = state.state()
    try:
        open_tables(store)
        with store.reading() as connection:
            answering = authors_answering(connection, since=at - LOOKED_BACK)
    finally:
        store.close()
    known = set(context.instance.get_dynamic_partitions("authors"))
    wanted = [slug for slug in answering if slug in known]
    if not wanted:
        yield dg.SkipReason(f"nobody was asked in the {LOOKED_BACK} before {at:%H:%M}")
    for slug in wanted:
        yield dg.RunRequest(run_key=f"feedback:{slug}:{at.isoformat()}", partition_key=slug)


every_day = dg.ScheduleDefinition(
    name="every_day",
    job=compare_authors,
    cron_schedule="35 0 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
