"""Define the sensor `changed_feeds`, which imports the posts of feeds that have changed.

Its cursor holds each author's decision and the last response of each feed. A feed's address may
contain a token, and Dagster's page shows the cursor, so responses are stored by the address's hash.
"""

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace

import dagster as dg

from twin_resources.authors import list_author_slugs, list_readable_authors
from twin_resources.idempotent_launch import RunLaunch
from twin_resources.settings import Settings
from twin_resources.storage.sources import polling
from twin_resources.storage.sources.feed_response import PollResponse
from twin_resources.storage.sources.import_decisions import SourcesState, build_run_key
from twin_resources.storage.sources.listing import is_feed
from twin_resources.storage.state.failure_isolation import isolate_failure
from twin_resources.storage.state.state import State
from twin_sensors.import_runs import CHANGE_TAG, ImportRuns
from twin_sensors.jobs import import_posts
from twin_sensors.launchable_runs import select_launchable, to_run_request

MAX_CONCURRENT_REQUESTS = 16
"""Dagster ends a tick after 60 s, and a slow server may take 20 s, so requests run in parallel."""

HOUR_S = 3600


@dataclass(frozen=True)
class AuthorFeeds:
    """What is stored of one author's feeds.

    Attributes:
        epoch: the time of the first check, in seconds since the epoch (`build_run_key`).
        decision: the last decision, or None before the first one.
        responses: hash of the address → the last response.
    """

    epoch: int
    decision: SourcesState | None = None
    responses: Mapping[str, PollResponse] = field(default_factory=dict[str, PollResponse])


def read_cursor(cursor: str | None) -> dict[str, AuthorFeeds]:
    """Return author → what the sensor's cursor holds of the author's feeds."""
    feeds_by_author: dict[str, AuthorFeeds] = {}
    for slug, fields in json.loads(cursor or "{}").items():
        decision = None if fields["decision"] is None else SourcesState(**fields["decision"])
        responses = {key: PollResponse(**response) for key, response in fields["responses"].items()}
        feeds_by_author[slug] = AuthorFeeds(fields["epoch"], decision, responses)
    return feeds_by_author


@dg.sensor(
    job=import_posts,
    description="Checks every feed for changes each hour and starts `import_posts` for the authors "
    "whose feeds have changed.",
    minimum_interval_seconds=HOUR_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def changed_feeds(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    state: dg.ResourceParam[State],
) -> dg.SensorResult:
    """Import an author's posts if one of their feeds has changed; a 304 response starts no run."""
    now = time.time()
    runs = ImportRuns(context.instance)
    slugs = list_author_slugs(settings)
    stored = {slug: feeds for slug, feeds in read_cursor(context.cursor).items() if slug in slugs}
    authors, messages = list_readable_authors(settings)
    feed_authors = [author for author in authors if any(map(is_feed, author.sources))]
    launches: list[RunLaunch] = []
    with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS) as pool:
        feeds = {author.slug: stored.get(author.slug, AuthorFeeds(int(now))) for author in authors}
        pending_responses = {
            author.slug: pool.submit(
                polling.poll_feeds,
                list(filter(is_feed, author.sources)),
                feeds[author.slug].responses,
            )
            for author in feed_authors
        }
        for author in feed_authors:
            slug, known = author.slug, feeds[author.slug]
            with isolate_failure(slug, messages.append):
                responses, failures = pending_responses[slug].result()
                messages += [f"{slug}: {failure}" for failure in failures]
                decision = runs.decide_import(
                    "feeds", slug, known.decision, polling.fingerprint_feeds(responses),
                    epoch=known.epoch, now=now,
                    # A feed does not state when it changed, but an import that started within the
                    # last hour has read the current feed.
                    is_imported=lambda slug=slug, known=known: (
                        known.decision is None and runs.has_started_since(slug, now - HOUR_S)
                    ),
                )  # fmt: skip
                if decision.state is not None:
                    stored[slug] = replace(known, decision=decision.state, responses=responses)
                if decision.state is not None and decision.should_launch:
                    key = build_run_key("feeds", slug, known.epoch, decision.state)
                    launches.append(RunLaunch(slug, key, {CHANGE_TAG: key}))
                messages.append(f"{slug}: {decision.message}")
    ready_launches, held_messages = select_launchable(
        context.instance, launches, state=state, job=import_posts.name
    )
    message = "\n".join([*messages, *held_messages]) or "no author with a feed"
    context.log.info(message)
    return dg.SensorResult(
        run_requests=list(map(to_run_request, ready_launches)),
        skip_reason=None if ready_launches else message,
        cursor=json.dumps({slug: asdict(feeds) for slug, feeds in sorted(stored.items())}),
    )
