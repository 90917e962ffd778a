"""Import all authors' posts every night."""

from collections.abc import Iterator

import dagster as dg

from twin_resources.authors import list_readable_authors
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State
from twin_sensors.jobs import import_posts
from twin_sensors.schedules import request_runs


@dg.schedule(
    job=import_posts,
    cron_schedule="10 2 * * *",
    description="Starts `import_posts` for every author, to find changes that no listing shows: a "
    "post whose date has arrived, a file whose content changed but whose size and modification "
    "time did not, or an abandoned import.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def import_all_posts_every_night(
    context: dg.ScheduleEvaluationContext,
    settings: dg.ResourceParam[Settings],
    state: dg.ResourceParam[State],
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Import every author's posts, to find changes that no listing shows within a day.

    Examples are a post whose date has arrived, a file whose content changed but whose size and
    modification time did not, and an abandoned import.
    """
    authors, problems = list_readable_authors(settings)
    slugs = [author.slug for author in authors if author.sources]
    if problems:
        context.log.warning("\n".join(problems))
    skip_message = "\n".join(["no author with sources", *problems])
    yield from request_runs(
        context, state, import_posts.name, slugs, kind="night", skip_message=skip_message
    )
