"""Import on a schedule: check feeds every hour and import everything every night.

Scope: the code between Dagster and `sources.polling` or `sources.import_decisions`.
Out of scope: requests and decisions (`twin_resources/storage/sources`), folders and S3
(`new_posts.py`).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import dagster as dg

from twin_resources.authors import list_readable_authors
from twin_resources.idempotent_launch import RunLaunch
from twin_resources.settings import Settings
from twin_resources.storage.sources import polling
from twin_resources.storage.sources.import_decisions import build_run_key
from twin_resources.storage.sources.listing import is_feed
from twin_resources.storage.state.failure_isolation import isolate_failure
from twin_resources.storage.state.state import State
from twin_sensors.import_runs import CHANGE_TAG, ImportRuns
from twin_sensors.jobs import import_posts
from twin_sensors.launchable_runs import select_launchable, to_run_request
from twin_sensors.schedules import request_runs

MAX_CONCURRENT_REQUESTS = 16
"""Dagster ends a tick after 60 s, and a slow server may take 20 s, so requests run in parallel."""

HOUR_S = 3600.0


@dg.schedule(
    job=import_posts,
    cron_schedule="20 * * * *",
    description="Checks every feed for changes and starts `import_posts` for the authors whose "
    "feeds have changed.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def import_changed_feeds_every_hour(
    context: dg.ScheduleEvaluationContext,
    settings: dg.ResourceParam[Settings],
    state: dg.ResourceParam[State],
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Import an author's posts if one of their feeds has changed; a 304 response starts no run."""
    now = context.scheduled_execution_time.timestamp()
    runs = ImportRuns(context.instance)
    authors, messages = list_readable_authors(settings)
    feed_authors = [author for author in authors if any(map(is_feed, author.sources))]
    launches: list[RunLaunch] = []
    with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS) as pool:
        poll_states = {
            author.slug: polling.load_poll_state(state, author.slug, now=now)
            for author in feed_authors
        }
        pending_responses = {
            author.slug: pool.submit(
                polling.poll_feeds,
                list(filter(is_feed, author.sources)),
                poll_states[author.slug].responses,
            )
            for author in feed_authors
        }
        for author in feed_authors:
            with isolate_failure(author.slug, messages.append):
                responses, failures = pending_responses[author.slug].result()
                messages += [f"{author.slug}: {failure}" for failure in failures]
                poll_state = replace(poll_states[author.slug], responses=responses)
                launch, message = _decide_and_save(author.slug, poll_state, runs, state, now)
                launches += [launch] if launch is not None else []
                messages.append(f"{author.slug}: {message}")
    ready_launches, held_messages = select_launchable(
        context.instance, launches, state=state, job=import_posts.name
    )
    message = "\n".join([*messages, *held_messages]) or "no author with a feed"
    context.log.info(message)
    yield from map(to_run_request, ready_launches)
    if not ready_launches:
        yield dg.SkipReason(message)


def _decide_and_save(
    slug: str, poll_state: polling.PollState, runs: ImportRuns, state: State, now: float
) -> tuple[RunLaunch | None, str]:
    decision = runs.decide_import(
        "feeds",
        slug,
        poll_state.decision,
        polling.fingerprint_feeds(poll_state.responses, list(poll_state.responses)),
        epoch=poll_state.epoch,
        now=now,
        # A feed does not state when it changed, but an import that started within the last hour
        # has read the current feed.
        is_imported=lambda: (
            poll_state.decision is None and runs.has_started_since(slug, now - HOUR_S)
        ),
    )
    if decision.state is None:
        return None, decision.message
    # Save before the launch; if the tick dies here, the next tick finds no run and requests one.
    polling.save_poll_state(state, slug, replace(poll_state, decision=decision.state))
    if not decision.should_launch:
        return None, decision.message
    key = build_run_key("feeds", slug, poll_state.epoch, decision.state)
    return RunLaunch(slug, key, {CHANGE_TAG: key}), decision.message


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
