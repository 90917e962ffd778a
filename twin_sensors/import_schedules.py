"""Import on a schedule: check feeds every hour, and import everything every night.

Scope: the code between Dagster, `sources.polling` and `sources.arrivals`.
Out of scope: requests and decisions (`twin_resources/storage/sources`), folders and S3
(`new_posts.py`).
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import dagster as dg

from twin_resources.authors import Author, readable_authors
from twin_resources.errors import TwinError
from twin_resources.idempotent_launch import RunLaunch
from twin_resources.settings import Settings
from twin_resources.storage.sources import polling
from twin_resources.storage.sources.arrivals import run_key
from twin_resources.storage.sources.feed_response import PollResponse
from twin_resources.storage.sources.listing import is_feed
from twin_resources.storage.state.isolating import isolate_failure
from twin_resources.storage.state.state import State
from twin_sensors.import_runs import CHANGE_TAG, ImportRuns
from twin_sensors.jobs import import_posts
from twin_sensors.launchable_runs import LaunchClaims, launchable, request_of
from twin_sensors.schedules import launches_at, requested

ASKED_AT_ONCE = 16
"""A schedule's tick ends after 60 s: 16 servers that do not answer in 20 s are awaited together."""

HOUR_S = 3600.0


@dg.schedule(
    job=import_posts,
    cron_schedule="20 * * * *",
    description="Asks every feed whether it has changed, and starts `import_posts` for the authors "
    "of those that have.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def import_changed_feeds_every_hour(
    context: dg.ScheduleEvaluationContext,
    settings: dg.ResourceParam[Settings],
    state: dg.ResourceParam[State],
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Import an author's posts if one of their feeds has changed; a 304 causes no run."""
    now = context.scheduled_execution_time.timestamp()
    runs = ImportRuns(context.instance)
    authors, lines = readable_authors(settings)
    reading = [author for author in authors if any(map(is_feed, author.sources))]
    launches: list[RunLaunch] = []
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        memories = {one.slug: polling.remembered(state, one.slug, now=now) for one in reading}
        answers_awaited = {
            one.slug: pool.submit(_ask, one, memories[one.slug].answers) for one in reading
        }
        for author in reading:
            with isolate_failure(author.slug, lines.append):
                answers, failures = answers_awaited[author.slug].result()
                lines += [f"{author.slug}: {failure}" for failure in failures]
                memory = replace(memories[author.slug], answers=answers)
                launch, message = _decided(author.slug, memory, runs, state, now)
                launches += [launch] if launch is not None else []
                lines.append(f"{author.slug}: {message}")
    claims = LaunchClaims(state, import_posts.name)
    ready, held = launchable(context.instance, launches, claims=claims)
    message = "\n".join([*lines, *held]) or "no author with a feed"
    context.log.info(message)
    yield from map(request_of, ready)
    if not ready:
        yield dg.SkipReason(message)


def _ask(
    author: Author, before: Mapping[str, PollResponse]
) -> tuple[dict[str, PollResponse], list[TwinError]]:
    """Request every feed of an author; a feed that is down keeps its last answer."""
    return polling.ask_each([source for source in author.sources if is_feed(source)], before)


def _decided(
    slug: str, memory: polling.PollState, runs: ImportRuns, store: State, now: float
) -> tuple[RunLaunch | None, str]:
    decision = runs.decided(
        "feeds",
        slug,
        memory.known,
        polling.mark_of(memory.answers, list(memory.answers)),
        epoch=memory.epoch,
        now=now,
        # A feed does not tell when it changed; an import of the last hour has read it.
        is_imported=memory.known is None and runs.began_since(slug, now - HOUR_S),
    )
    if decision.known is None:
        return None, decision.said
    # Saved before the launch: if the tick dies here, the next one finds no run and requests it.
    polling.remember(store, slug, replace(memory, known=decision.known))
    if not decision.launch:
        return None, decision.said
    key = run_key("feeds", slug, memory.epoch, decision.known)
    return RunLaunch(slug, key, {CHANGE_TAG: key}), decision.said


@dg.schedule(
    job=import_posts,
    cron_schedule="10 2 * * *",
    description="Starts `import_posts` for every author, for what no listing shows: a post whose "
    "date has come, bytes that changed without size or time, an import that was given up.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def import_all_posts_every_night(
    context: dg.ScheduleEvaluationContext,
    settings: dg.ResourceParam[Settings],
    state: dg.ResourceParam[State],
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Import every author's posts, to find within a day what no listing shows.

    Examples are bytes that changed without size or time, a post whose date has come, and an import
    that was given up.
    """
    at = context.scheduled_execution_time
    authors, lines = readable_authors(settings)
    wanted = launches_at(at, [author.slug for author in authors if author.sources], kind="night")
    if lines:
        context.log.warning("\n".join(lines))
    otherwise = "\n".join(["no author with sources", *lines])
    claims = LaunchClaims(state, import_posts.name)
    yield from requested(context, wanted, claims, otherwise=otherwise)
